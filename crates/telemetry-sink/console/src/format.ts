// Numbers and times as people read them. Pure: no DOM, no clock; a missing figure is an en dash.

export const MISSING = "–";

type Figure = number | null | undefined;

function absent(value: Figure): value is null | undefined {
  return value === null || value === undefined || !Number.isFinite(value);
}

/** Three significant digits without an exponent: 0.012, 1.23, 12.3, 123. */
export function figure(value: Figure): string {
  if (absent(value)) return MISSING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return Math.round(value).toLocaleString("en");
  if (size >= 10) return trimZeros(value.toFixed(1));
  if (size >= 1) return trimZeros(value.toFixed(2));
  if (size >= 0.001) return trimZeros(value.toFixed(3));
  return value.toExponential(1);
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Decimal steps for counts: 950, 1.2k, 3.4M. */
export function count(value: Figure): string {
  if (absent(value)) return MISSING;
  return scaled(value, 1000, ["", "k", "M", "G", "T"]);
}

/** Binary steps for memory and storage: 12 KiB, 41.3 MiB. */
export function bytes(value: Figure): string {
  if (absent(value)) return MISSING;
  return scaled(value, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]);
}

function scaled(value: number, step: number, units: readonly string[]): string {
  let size = Math.abs(value);
  let unit = 0;
  while (size >= step && unit < units.length - 1) {
    size /= step;
    unit += 1;
  }
  const sign = value < 0 ? "-" : "";
  const digits = size >= 100 || Number.isInteger(size) ? 0 : size >= 10 ? 1 : 2;
  return `${sign}${trimZeros(size.toFixed(digits))}${units[unit] ?? ""}`;
}

/** A latency in microseconds: 850 µs, 1.25 ms, 3.4 s. */
export function latency(micros: Figure): string {
  if (absent(micros)) return MISSING;
  const size = Math.abs(micros);
  if (size < 1000) return `${figure(Math.round(micros * 10) / 10)} µs`;
  if (size < 1_000_000) return `${figure(micros / 1000)} ms`;
  return `${figure(micros / 1_000_000)} s`;
}

/** An age or uptime in seconds, two units at most: 42s, 3m 10s, 5h 2m, 12d 4h. */
export function age(seconds: Figure): string {
  if (absent(seconds)) return MISSING;
  const whole = Math.max(0, Math.floor(seconds));
  const parts: readonly [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first === -1) return "0s";
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join(" ");
}

/** How long ago an instant was, given both in milliseconds. */
export function ago(thenMs: Figure, nowMs: number): string {
  if (absent(thenMs)) return MISSING;
  const seconds = (nowMs - thenMs) / 1000;
  if (seconds < 1) return "now";
  return `${age(seconds).split(" ")[0] ?? "0s"} ago`;
}

/** Further off than this a date says more. */
const FAR_MS = 60 * 86_400_000;

/** How far off an instant is, either way: `in 3h 2m`, `5m ago`, `on 2100-01-01`. */
export function fromNow(thenMs: Figure, nowMs: number): string {
  if (absent(thenMs)) return MISSING;
  if (thenMs - nowMs > FAR_MS) return `on ${dateTime(thenMs).slice(0, 10)}`;
  return thenMs > nowMs ? `in ${age(Math.ceil((thenMs - nowMs) / 1000))}` : ago(thenMs, nowMs);
}

export function percent(ratio: Figure): string {
  if (absent(ratio)) return MISSING;
  return `${figure(ratio * 100)}%`;
}

/** Local wall clock with milliseconds, the form log lines are read in. */
export function clockTime(ms: Figure): string {
  if (absent(ms)) return MISSING;
  const at = new Date(ms);
  const pad = (part: number, width = 2): string => String(part).padStart(width, "0");
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

export function dateTime(ms: Figure): string {
  if (absent(ms)) return MISSING;
  const at = new Date(ms);
  const pad = (part: number): string => String(part).padStart(2, "0");
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** A tick of a time axis, as fine as the distance of its ticks in seconds asks for. */
export function axisTime(ms: number, stepSeconds: number): string {
  const text = dateTime(ms);
  if (stepSeconds >= 86_400) return text.slice(5, 10);
  if (stepSeconds >= 21_600) return text.slice(5, 16);
  return stepSeconds >= 60 ? text.slice(11, 16) : text.slice(11);
}

/** Currencies whose minor unit is not a hundredth (ISO 4217). */
const MINOR_DIGITS: Readonly<Record<string, number>> = {
  BIF: 0,
  CLP: 0,
  DJF: 0,
  GNF: 0,
  ISK: 0,
  JPY: 0,
  KMF: 0,
  KRW: 0,
  PYG: 0,
  RWF: 0,
  UGX: 0,
  VND: 0,
  VUV: 0,
  XAF: 0,
  XOF: 0,
  XPF: 0,
  BHD: 3,
  IQD: 3,
  JOD: 3,
  KWD: 3,
  LYD: 3,
  OMR: 3,
  TND: 3,
};

/** An amount in minor units with its currency code: 12.50 EUR. */
export function money(amount: Figure, currency: string): string {
  if (absent(amount)) return MISSING;
  const digits = MINOR_DIGITS[currency] ?? 2;
  return `${(amount / 10 ** digits).toFixed(digits)} ${currency}`;
}

export const UNITS = ["plain", "bytes", "byterate", "seconds", "millis", "ratio", "percent", "rate"] as const;
export type Unit = (typeof UNITS)[number];

/** Guesses the unit of a PromQL result from the metric's conventional suffix. */
export function unitOf(expression: string): Unit {
  if (/_bytes\b(?!_total)/.test(expression)) return "bytes";
  if (
    /_seconds(_bucket|_sum)?\b/.test(expression) &&
    !/cpu_seconds|_timestamp_seconds|_time_seconds/.test(expression)
  ) {
    return "seconds";
  }
  if (/\b(rate|irate)\s*\(/.test(expression)) return "rate";
  return "plain";
}

/** Calls per second, or per minute or hour where they are seldom: 12.5/s, 3/min, 2/h. */
export function seldom(perSecond: Figure): string {
  if (absent(perSecond) || perSecond === 0 || perSecond >= 0.1) return inUnit(perSecond, "rate");
  if (perSecond * 60 >= 1) return `${figure(Math.round(perSecond * 600) / 10)}/min`;
  return `${figure(Math.round(perSecond * 36_000) / 10)}/h`;
}

export function inUnit(value: Figure, unit: Unit): string {
  if (absent(value)) return MISSING;
  switch (unit) {
    case "bytes":
      return bytes(value);
    case "byterate":
      return `${bytes(value)}/s`;
    case "seconds":
      return latency(value * 1_000_000);
    case "millis":
      return latency(value * 1000);
    case "percent":
      return percent(value / 100);
    case "ratio":
      return percent(value);
    case "rate":
      return `${figure(value)}/s`;
    case "plain":
      return Math.abs(value) >= 10_000 ? count(value) : figure(value);
  }
}

/** Shortens an identifier for a table cell; the full one stays in the title. */
export function shortId(id: string, keep = 8): string {
  return id.length <= keep + 1 ? id : `${id.slice(0, keep)}…`;
}
