// The lines of one search, newest first, as pages of older ones and a tail of newer ones join them.
// Pages overlap in the instant where they meet, since one instant may have more lines than a page shows.

import type { NanoRange, StoredLine } from "../api/loki";

export const MOST_LINES = 1_000_000;

export interface LogBuffer {
  readonly lines: StoredLine[];
  /** Nothing older is left in the range. */
  complete: boolean;
}

export function emptyBuffer(): LogBuffer {
  return { lines: [], complete: false };
}

function identity(line: StoredLine): string {
  return `${line.nanos}\u0000${line.line}\u0000${Object.values(line.stream).join()}`;
}

/** The range of the next older page. */
export function olderThan(buffer: LogBuffer, range: NanoRange): NanoRange {
  const oldest = buffer.lines.at(-1);
  return oldest === undefined ? range : { start: range.start, end: String(BigInt(oldest.nanos) + 1n) };
}

/** Takes a page that was asked with `limit` lines; returns how many of them are new. */
export function takeOlder(buffer: LogBuffer, page: readonly StoredLine[], limit: number): number {
  const { lines } = buffer;
  const oldest = lines.at(-1)?.nanos;
  const known = new Set<string>();
  for (let at = lines.length - 1; at >= 0 && lines[at]?.nanos === oldest; at -= 1) {
    known.add(identity(lines[at] as StoredLine));
  }
  const fresh = page.filter((line) => line.nanos !== oldest || !known.has(identity(line)));
  const room = MOST_LINES - lines.length;
  for (const line of fresh.slice(0, room)) lines.push(line);
  // A full page of nothing new is one instant with more lines than a page: what is beyond it cannot be asked for.
  buffer.complete = page.length < limit || fresh.length === 0 || lines.length >= MOST_LINES;
  return fresh.length;
}

/** Takes newer lines, newest first; returns how many were not there yet. */
export function takeNewer(buffer: LogBuffer, page: readonly StoredLine[]): number {
  const { lines } = buffer;
  const newest = lines[0]?.nanos ?? "";
  const known = new Set<string>();
  // A tail repeats what was written while it began: the lines of the last moments are compared.
  for (let at = 0; at < Math.min(lines.length, 2000); at += 1) known.add(identity(lines[at] as StoredLine));
  const fresh = page.filter((line) => !known.has(identity(line)));
  if (fresh.length === 0) return 0;
  const late = fresh.some((line) => line.nanos < newest);
  lines.unshift(...fresh);
  if (late) lines.sort((left, right) => (left.nanos < right.nanos ? 1 : left.nanos > right.nanos ? -1 : 0));
  if (lines.length > MOST_LINES) lines.length = MOST_LINES;
  return fresh.length;
}

export interface Facet {
  readonly key: string;
  readonly values: readonly (readonly [value: string, count: number])[];
  /** Different values in the sample. */
  readonly distinct: number;
}

const SAMPLE = 2000;
const MOST_VALUES = 8;
/** Said by a line's own columns, or different on every line. */
export const NO_FACETS: ReadonlySet<string> = new Set([
  "trace_id",
  "span_id",
  "request_id",
  "duration_us",
  "duration_ms",
  "upstream_duration_us",
  "detected_level",
  "message",
]);

/** The commonest values of each field among the newest lines. */
export function facetsOf(lines: readonly StoredLine[], sample = SAMPLE): Facet[] {
  const counts = new Map<string, Map<string, number>>();
  const note = (key: string, value: string): void => {
    if (NO_FACETS.has(key)) return;
    const values = counts.get(key) ?? new Map<string, number>();
    values.set(value, (values.get(value) ?? 0) + 1);
    counts.set(key, values);
  };
  for (const { stream, metadata = {} } of lines.slice(0, sample)) {
    for (const [key, value] of Object.entries(stream)) note(key, value);
    for (const [key, value] of Object.entries(metadata)) if (!(key in stream)) note(key, value);
  }
  return [...counts]
    .map(([key, values]) => ({
      key,
      distinct: values.size,
      values: [...values].sort(([, left], [, right]) => right - left).slice(0, MOST_VALUES),
    }))
    .sort((left, right) => (left.key < right.key ? -1 : 1));
}

/** The lines as text, one each, oldest first, or as JSON lines with all their fields. */
export function exportText(lines: readonly StoredLine[], form: "text" | "json"): string {
  const oldestFirst = [...lines].reverse();
  if (form === "json") {
    const json = ({ nanos, stream, line, metadata }: StoredLine): string =>
      JSON.stringify({ time: instantText(nanos), line, ...stream, ...metadata });
    return `${oldestFirst.map(json).join("\n")}\n`;
  }
  return `${oldestFirst.map(({ nanos, line }) => `${instantText(nanos)} ${line}`).join("\n")}\n`;
}

/** RFC 3339 with all nine digits of the second. */
export function instantText(nanos: string): string {
  const millis = new Date(Number(nanos.slice(0, -6))).toISOString();
  return `${millis.slice(0, -1)}${nanos.slice(-6)}Z`;
}
