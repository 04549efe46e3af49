// The sink's Prometheus HTTP API: instant and range queries, names and label values.

import { get, optional } from "./http";
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
  readonly infos?: readonly string[];
}

interface WireSeries {
  readonly metric?: Labels;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
}

interface WireStats {
  readonly timings?: { readonly evalTotalTime?: number; readonly execTotalTime?: number };
  readonly samples?: { readonly totalQueryableSamples?: number; readonly peakSamples?: number };
}

interface WireResult {
  readonly resultType: string;
  readonly result: readonly WireSeries[] | readonly [number, string];
  readonly stats?: WireStats;
}

/** What a query cost, as far as the server tells. */
export interface QueryStats {
  readonly seconds: number | null;
  readonly samples: number | null;
  readonly peakSamples: number | null;
}

/** A result with what the server has to say about it. */
export interface Answer {
  readonly series: readonly Series[];
  readonly notes: readonly string[];
  readonly stats: QueryStats;
}

function toAnswer({ data, warnings = [], infos = [] }: Envelope<WireResult>): Answer {
  const { timings, samples } = data.stats ?? {};
  return {
    series: toSeries(data),
    notes: [...warnings, ...infos],
    stats: {
      seconds: timings?.execTotalTime ?? timings?.evalTotalTime ?? null,
      samples: samples?.totalQueryableSamples ?? null,
      peakSamples: samples?.peakSamples ?? null,
    },
  };
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
): Promise<readonly Series[]> {
  return (await askRange(query, range, step, signal)).series;
}

export async function askRange(query: string, range: Range, step: number, signal?: AbortSignal): Promise<Answer> {
  const reply = await get<Envelope<WireResult>>(
    `${BASE}/query_range`,
    // Starts on a multiple of the step, so that a moving window repeats the same instants.
    {
      query,
      start: Math.floor(range.startMs / 1000 / step) * step,
      end: Math.floor(range.endMs / 1000),
      step,
      stats: "all",
    },
    signal,
  );
  return toAnswer(reply);
}

export async function query(expression: string, atMs: number, signal?: AbortSignal): Promise<readonly Series[]> {
  return (await ask(expression, atMs, signal)).series;
}

export async function ask(expression: string, atMs: number, signal?: AbortSignal): Promise<Answer> {
  const asked = { query: expression, time: atMs / 1000, stats: "all" };
  return toAnswer(await get<Envelope<WireResult>>(`${BASE}/query`, asked, signal));
}

/** A sample that names the trace it was measured in. */
export interface Exemplar {
  readonly traceId: string;
  readonly atSeconds: number;
  readonly value: number;
  readonly labels: Labels;
}

interface WireExemplars {
  readonly seriesLabels?: Labels;
  readonly exemplars?: readonly { readonly labels: Labels; readonly value: string; readonly timestamp: number }[];
}

/** None where the server keeps none. */
export async function exemplars(query: string, range: Range, signal?: AbortSignal): Promise<Exemplar[]> {
  const asked = { query, start: range.startMs / 1000, end: range.endMs / 1000 };
  const reply = await optional(get<Envelope<readonly WireExemplars[]>>(`${BASE}/query_exemplars`, asked, signal));
  return (reply?.data ?? []).flatMap(({ seriesLabels = {}, exemplars: found = [] }) =>
    found.flatMap(({ labels, value, timestamp }) => {
      const traceId = labels["trace_id"] ?? labels["traceID"] ?? "";
      return traceId ? [{ traceId, atSeconds: timestamp, value: sampleValue(value), labels: seriesLabels }] : [];
    }),
  );
}

export interface MetricInfo {
  readonly kind: string;
  readonly help: string;
}

export async function metadata(signal?: AbortSignal): Promise<ReadonlyMap<string, MetricInfo>> {
  interface Wire {
    readonly type?: string;
    readonly help?: string;
  }
  const reply = await optional(get<Envelope<Readonly<Record<string, readonly Wire[]>>>>(`${BASE}/metadata`, {}, signal));
  return new Map(
    Object.entries(reply?.data ?? {}).map(([name, [first]]) => [
      name,
      { kind: first?.type ?? "", help: first?.help ?? "" },
    ]),
  );
}

export interface Ranked {
  readonly name: string;
  readonly value: number;
}

/** What the store holds and which names fill it. */
export interface StoreStatus {
  readonly series: number | null;
  readonly labelPairs: number | null;
  readonly chunks: number | null;
  readonly metrics: readonly Ranked[];
  readonly labels: readonly Ranked[];
  readonly labelBytes: readonly Ranked[];
  readonly pairs: readonly Ranked[];
}

export async function storeStatus(limit: number, signal?: AbortSignal): Promise<StoreStatus | null> {
  interface Wire {
    readonly headStats?: { readonly numSeries?: number; readonly numLabelPairs?: number; readonly chunkCount?: number };
    readonly seriesCountByMetricName?: readonly Ranked[] | null;
    readonly labelValueCountByLabelName?: readonly Ranked[] | null;
    readonly memoryInBytesByLabelName?: readonly Ranked[] | null;
    readonly seriesCountByLabelValuePair?: readonly Ranked[] | null;
  }
  const reply = await optional(get<Envelope<Wire>>(`${BASE}/status/tsdb`, { limit }, signal));
  if (!reply) return null;
  const { headStats = {}, ...lists } = reply.data;
  return {
    series: headStats.numSeries ?? null,
    labelPairs: headStats.numLabelPairs ?? null,
    chunks: headStats.chunkCount ?? null,
    metrics: lists.seriesCountByMetricName ?? [],
    labels: lists.labelValueCountByLabelName ?? [],
    labelBytes: lists.memoryInBytesByLabelName ?? [],
    pairs: lists.seriesCountByLabelValuePair ?? [],
  };
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
