// The sink's Loki HTTP API, read as one time-ordered list of lines.

import { ApiError, get, optional, withParams } from "./http";
import type { Range } from "../lib/time-range";

const BASE = "/telemetry/loki/api/v1";

export interface LogLine {
  /** Stable within one answer: stream labels and the nanosecond timestamp. */
  readonly key: string;
  readonly atMs: number;
  readonly service: string;
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly requestId: string | null;
  readonly traceId: string | null;
  readonly stored: StoredLine;
}

export type Fields = Readonly<Record<string, string>>;

/** A line as it came: a million of them are kept, and only those in view are read. */
export interface StoredLine {
  readonly nanos: string;
  readonly stream: Fields;
  readonly line: string;
  readonly metadata?: Fields;
}

interface WireStream {
  readonly stream: Fields;
  readonly values: readonly (readonly [nanos: string, line: string, metadata?: Fields])[];
}

interface WireTail {
  readonly streams?: readonly WireStream[] | null;
  readonly dropped?: number;
}

interface WireAnswer {
  readonly data?: { readonly resultType?: string; readonly result?: readonly WireStream[] };
}

const SERVICE_KEYS = ["service_name", "service", "job"];
const LEVEL_KEYS = ["level", "severity_text", "severity", "detected_level"];
const REQUEST_KEYS = ["request_id", "request.id"];
const TRACE_KEYS = ["trace_id", "traceId", "traceid"];

function pick(fields: Fields, keys: readonly string[]): string | null {
  for (const key of keys) {
    const value = fields[key];
    if (value) return value;
  }
  return null;
}

/** One stored line: a JSON body is opened into fields, anything else is the message itself. */
export function readLine(stream: Fields, nanos: string, line: string, metadata: Fields = {}): LogLine {
  const body = openJson(line);
  const fields = { ...stream, ...metadata, ...body?.fields };
  return {
    key: `${nanos}\u0000${Object.values(stream).join(",")}\u0000${line}`,
    atMs: Number(nanos.slice(0, -6)),
    service: pick(fields, SERVICE_KEYS) ?? "",
    level: (pick(fields, LEVEL_KEYS) ?? "").toLowerCase(),
    message: body?.message ?? line,
    fields,
    requestId: pick(fields, REQUEST_KEYS),
    traceId: pick(fields, TRACE_KEYS),
    stored: { nanos, stream, line, metadata },
  };
}

function openJson(line: string): { message: string; fields: Record<string, string> } | null {
  if (!line.startsWith("{")) return null;
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof parsed !== "object" || parsed === null) return null;
  const fields: Record<string, string> = {};
  flatten(parsed as Record<string, unknown>, "", fields);
  const message = fields["message"] ?? fields["msg"] ?? fields["fields.message"] ?? line;
  return { message, fields };
}

function flatten(from: Record<string, unknown>, prefix: string, into: Record<string, string>): void {
  for (const [key, value] of Object.entries(from)) {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      flatten(value as Record<string, unknown>, `${prefix}${key}.`, into);
    } else {
      into[prefix + key] = typeof value === "string" ? value : JSON.stringify(value);
    }
  }
}

/** Instants in nanoseconds, as text since they do not fit a number; the end is not part of it. */
export interface NanoRange {
  readonly start: string;
  readonly end: string;
}

export function nanos(range: Range): NanoRange {
  return { start: `${Math.floor(range.startMs)}000000`, end: `${Math.floor(range.endMs)}000000` };
}

/** Nineteen digits until the year 2286: text compares as the numbers would. */
function newestFirst(left: StoredLine, right: StoredLine): number {
  return left.nanos < right.nanos ? 1 : left.nanos > right.nanos ? -1 : 0;
}

export function storedLines(streams: readonly WireStream[]): StoredLine[] {
  return streams
    .flatMap(({ stream, values }) =>
      values.map(([at, line, metadata]): StoredLine => {
        return metadata === undefined ? { nanos: at, stream, line } : { nanos: at, stream, line, metadata };
      }),
    )
    .sort(newestFirst);
}

/** One page of lines, newest first; `forward` takes the oldest of the range instead of the newest. */
export async function logPage(
  query: string,
  range: NanoRange,
  limit: number,
  signal?: AbortSignal,
  direction: "backward" | "forward" = "backward",
): Promise<StoredLine[]> {
  const answer = await get<WireAnswer>(`${BASE}/query_range`, { query, ...range, limit, direction }, signal);
  if ((answer.data?.resultType ?? "streams") !== "streams") throw countsOnly();
  return storedLines(answer.data?.result ?? []).slice(0, limit);
}

function countsOnly(): ApiError {
  const detail = "Take the aggregation away and leave the selector with its stages, such as {service_name=\"core-api\"} | json.";
  return new ApiError(0, "no_lines", "This query counts lines and finds none", detail, null);
}

/** Newest first, at most `limit` lines. */
export async function queryLogs(query: string, range: Range, limit: number, signal?: AbortSignal): Promise<LogLine[]> {
  return (await logPage(query, nanos(range), limit, signal)).map(opened);
}

export function opened(line: StoredLine): LogLine {
  return readLine(line.stream, line.nanos, line.line, line.metadata);
}

/** How many lines each value of a label has in each step. */
export interface Counted {
  readonly value: string;
  readonly total: number;
  readonly points: readonly (readonly [atMs: number, count: number])[];
}

interface WireMatrix {
  readonly data?: {
    readonly resultType?: string;
    readonly result?: readonly { readonly metric: Fields; readonly values?: readonly (readonly [number, string])[] }[];
  };
}

/**
 * Counts by one label, asked with a metric query; each point counts the step that ends there. Null where the
 * server knows no metric queries over logs.
 */
export async function countLines(
  query: string,
  label: string,
  range: Range,
  step: number,
  signal?: AbortSignal,
): Promise<readonly Counted[] | null> {
  const answer = await optional(get<WireMatrix>(`${BASE}/query_range`, { query, ...nanos(range), step }, signal));
  if (answer?.data?.resultType !== "matrix") return null;
  return (answer.data.result ?? []).map(({ metric, values = [] }) => {
    const points = values.map(([at, count]) => [at * 1000, Number(count)] as const);
    return { value: metric[label] ?? "", total: points.reduce((sum, [, count]) => sum + count, 0), points };
  });
}

/** Names of the fields that the lines of a search carry; none where the server does not tell. */
export async function detectedFields(query: string, range: Range, signal?: AbortSignal): Promise<readonly string[]> {
  interface Wire {
    readonly fields?: readonly { readonly label: string }[] | null;
  }
  const answer = await optional(get<Wire>(`${BASE}/detected_fields`, { query, ...nanos(range) }, signal));
  return (answer?.fields ?? []).map(({ label }) => label);
}

/** What one event of a tail brought. */
export interface Tailed {
  readonly lines: readonly StoredLine[];
  /** Lines that were written and not sent, because this reader was too slow or too many came at once; at least so many. */
  readonly dropped: number;
}

export function readTailed(text: string): Tailed {
  const wire = JSON.parse(text) as WireTail;
  return { lines: storedLines(wire.streams ?? []), dropped: wire.dropped ?? 0 };
}

export function tailAddress(query: string): string {
  return withParams("/telemetry/v1/logs/tail", { query });
}

export async function logLabelValues(label: string, signal?: AbortSignal): Promise<readonly string[]> {
  const answer = await get<{ readonly data?: readonly string[] }>(
    `${BASE}/label/${encodeURIComponent(label)}/values`,
    {},
    signal,
  );
  return answer.data ?? [];
}
