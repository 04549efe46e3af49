// Relative time ranges as they stand in a shareable URL, and the query steps that fit a chart.

export interface Range {
  readonly startMs: number;
  readonly endMs: number;
}

export const RANGES = ["5m", "15m", "1h", "6h", "24h", "7d"] as const;
export type RangeName = (typeof RANGES)[number];

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds in a Prometheus-style duration such as `15m`; null when it is not one. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+)([smhd])$/.exec(text);
  if (!match) return null;
  const unit = UNIT_SECONDS[match[2] ?? ""];
  return unit === undefined ? null : Number(match[1]) * unit;
}

export function rangeName(text: string | null, fallback: RangeName): RangeName {
  return RANGES.find((name) => name === text) ?? fallback;
}

export function rangeEnding(name: RangeName, nowMs: number): Range {
  const seconds = parseDuration(name) ?? 3600;
  return { startMs: nowMs - seconds * 1000, endMs: nowMs };
}

/** What a screen covers: a range that ends now, or two instants that stay. */
export interface Period {
  readonly name: RangeName;
  readonly fixed: Range | null;
}

/** Further from now than a clock goes, the address is a slip of the pen. */
const LATEST_MS = 8.64e15;

export function readPeriod(query: URLSearchParams, fallback: RangeName): Period {
  const [from, to] = [Number(query.get("from") ?? NaN), Number(query.get("to") ?? NaN)];
  const whole = from > 0 && to > from && to < LATEST_MS;
  return { name: rangeName(query.get("range"), fallback), fixed: whole ? { startMs: from, endMs: to } : null };
}

export function rangeOf(period: Period, nowMs: number): Range {
  return period.fixed ?? rangeEnding(period.name, nowMs);
}

/** The keys of the address that name a period; the empty ones go. */
export function periodQuery(period: { readonly name?: RangeName; readonly fixed?: Range | null }): Record<string, string> {
  const { name, fixed } = period;
  return {
    ...(name === undefined ? {} : { range: name }),
    from: fixed ? String(Math.floor(fixed.startMs)) : "",
    to: fixed ? String(Math.ceil(fixed.endMs)) : "",
  };
}

/** The same range moved by a part of its length; out or in around its middle with `grow`. */
export function shifted(range: Range, part: number, grow = 1): Range {
  const length = range.endMs - range.startMs;
  const middle = (range.startMs + range.endMs) / 2 + length * part;
  return { startMs: middle - (length * grow) / 2, endMs: middle + (length * grow) / 2 };
}

/** The shortest range that reaches back so far, or the longest there is. */
export function rangeCovering(ms: number): RangeName {
  return RANGES.find((name) => (parseDuration(name) ?? 0) * 1000 >= ms) ?? "7d";
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400];

/** The smallest round step, in seconds, that keeps a range within `points` points. */
export function stepFor(range: Range, points = 240): number {
  const wanted = (range.endMs - range.startMs) / 1000 / points;
  return STEPS.find((step) => step >= wanted) ?? 86_400;
}

/** A window for `rate()` that always spans several scrapes, whatever the step. */
export function rateWindow(step: number): string {
  return `${Math.max(30, step * 4)}s`;
}
