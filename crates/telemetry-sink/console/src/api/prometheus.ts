// The sink's Prometheus HTTP API: instant and range queries, names and label values.

import { get } from "./http";
import { stepFor, type Range } from "../lib/time-range";

const BASE = "/telemetry/prometheus/api/v1";

export type Labels = Readonly<Record<string, string>>;
export type Point = readonly [timeSeconds: number, value: number];

export interface Series {
  readonly labels: Labels;
  readonly points: readonly Point[];
}

interface Envelope<T> {
  readonly status: string;
  readonly data: T;
  readonly warnings?: readonly string[];
}

interface WireSeries {
  readonly metric?: Labels;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
}

interface WireResult {
  readonly resultType: string;
  readonly result: readonly WireSeries[] | readonly [number, string];
}

/** `Number` reads every finite value; Prometheus writes infinities as `+Inf` and `-Inf`. */
export function sampleValue(text: string): number {
  if (text === "+Inf" || text === "Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}

function toSeries(result: WireResult): Series[] {
  if (result.resultType === "scalar" || result.resultType === "string") {
    const [time, value] = result.result as readonly [number, string];
    return [{ labels: {}, points: [[time, sampleValue(value)]] }];
  }
  return (result.result as readonly WireSeries[]).map((series) => ({
    labels: series.metric ?? {},
    points: (series.values ?? (series.value ? [series.value] : [])).map(
      ([time, value]) => [time, sampleValue(value)] as const,
    ),
  }));
}

export async function queryRange(
  query: string,
  range: Range,
  signal?: AbortSignal,
  step = stepFor(range),
): Promise<Series[]> {
  const reply = await get<Envelope<WireResult>>(
    `${BASE}/query_range`,
    // Starts on a multiple of the step, so that a moving window repeats the same instants.
    {
      query,
      start: Math.floor(range.startMs / 1000 / step) * step,
      end: Math.floor(range.endMs / 1000),
      step,
    },
    signal,
  );
  return toSeries(reply.data);
}

export async function query(expression: string, atMs: number, signal?: AbortSignal): Promise<Series[]> {
  const reply = await get<Envelope<WireResult>>(`${BASE}/query`, { query: expression, time: atMs / 1000 }, signal);
  return toSeries(reply.data);
}

export async function metricNames(signal?: AbortSignal): Promise<readonly string[]> {
  return labelValues("__name__", undefined, signal);
}

export async function labelNames(metric: string, signal?: AbortSignal): Promise<readonly string[]> {
  const reply = await get<Envelope<readonly string[]>>(
    `${BASE}/labels`,
    { "match[]": metric === "" ? undefined : metric },
    signal,
  );
  return reply.data.filter((label) => label !== "__name__");
}

export async function labelValues(label: string, metric?: string, signal?: AbortSignal): Promise<readonly string[]> {
  const reply = await get<Envelope<readonly string[]>>(
    `${BASE}/label/${encodeURIComponent(label)}/values`,
    { "match[]": metric === "" ? undefined : metric },
    signal,
  );
  return reply.data;
}
