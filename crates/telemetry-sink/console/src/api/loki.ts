// The sink's Loki HTTP API, read as one time-ordered list of lines.

import { get } from "./http";
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
}

type Fields = Readonly<Record<string, string>>;

interface WireStream {
  readonly stream: Fields;
  readonly values: readonly (readonly [nanos: string, line: string, metadata?: Fields])[];
}

interface WireAnswer {
  readonly data?: { readonly result?: readonly WireStream[] };
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

/** Newest first, at most `limit` lines. */
export async function queryLogs(query: string, range: Range, limit: number, signal?: AbortSignal): Promise<LogLine[]> {
  const answer = await get<WireAnswer>(
    `${BASE}/query_range`,
    {
      query,
      start: `${Math.floor(range.startMs)}000000`,
      end: `${Math.floor(range.endMs)}000000`,
      limit,
      direction: "backward",
    },
    signal,
  );
  const lines = (answer.data?.result ?? []).flatMap(({ stream, values }) =>
    values.map(([nanos, line, metadata]) => ({ nanos: BigInt(nanos), line: readLine(stream, nanos, line, metadata) })),
  );
  lines.sort((left, right) => (left.nanos < right.nanos ? 1 : left.nanos > right.nanos ? -1 : 0));
  return lines.slice(0, limit).map(({ line }) => line);
}

export async function logLabelValues(label: string, signal?: AbortSignal): Promise<readonly string[]> {
  const answer = await get<{ readonly data?: readonly string[] }>(
    `${BASE}/label/${encodeURIComponent(label)}/values`,
    {},
    signal,
  );
  return answer.data ?? [];
}
