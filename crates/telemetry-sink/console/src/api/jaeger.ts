// The sink's Jaeger query API, turned into the spans the waterfall lays out.

import { get, optional } from "./http";
import type { Range } from "../lib/time-range";
import type { Span } from "../lib/waterfall";

const BASE = "/telemetry/jaeger/api";

export interface Attribute {
  readonly key: string;
  readonly value: string;
}

export interface SpanEvent {
  readonly atUs: number;
  readonly attributes: readonly Attribute[];
}

export interface TraceSpan extends Span {
  readonly kind: string;
  readonly attributes: readonly Attribute[];
  readonly resource: readonly Attribute[];
  readonly events: readonly SpanEvent[];
  readonly links: readonly string[];
}

export interface Trace {
  readonly traceId: string;
  readonly spans: readonly TraceSpan[];
}

interface WireTag {
  readonly key: string;
  readonly value: unknown;
}

interface WireSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly references?: readonly { readonly refType?: string; readonly traceID: string; readonly spanID: string }[];
  readonly parentSpanID?: string;
  readonly startTime: number;
  readonly duration: number;
  readonly tags?: readonly WireTag[];
  readonly logs?: readonly { readonly timestamp: number; readonly fields: readonly WireTag[] }[];
  readonly processID?: string;
}

export interface WireTrace {
  readonly traceID: string;
  readonly spans: readonly WireSpan[];
  readonly processes?: Readonly<Record<string, { readonly serviceName: string; readonly tags?: readonly WireTag[] }>>;
}

function attributes(tags: readonly WireTag[] | undefined): Attribute[] {
  return (tags ?? []).map(({ key, value }) => ({
    key,
    value: typeof value === "string" ? value : JSON.stringify(value),
  }));
}

export function readTrace(wire: WireTrace): Trace {
  const spans = wire.spans.map((span): TraceSpan => {
    const process = wire.processes?.[span.processID ?? ""];
    const own = attributes(span.tags);
    const tag = (key: string): string | undefined => own.find((attribute) => attribute.key === key)?.value;
    const parent = span.references?.find(
      ({ refType, traceID }) => (refType ?? "CHILD_OF") === "CHILD_OF" && traceID === span.traceID,
    );
    return {
      spanId: span.spanID,
      parentId: parent?.spanID ?? (span.parentSpanID || null),
      service: process?.serviceName ?? "unknown",
      name: span.operationName,
      startUs: span.startTime,
      durationUs: span.duration,
      error: tag("error") === "true" || tag("otel.status_code") === "ERROR",
      kind: tag("span.kind") ?? "internal",
      attributes: own,
      resource: attributes(process?.tags),
      events: (span.logs ?? []).map(({ timestamp, fields }) => ({ atUs: timestamp, attributes: attributes(fields) })),
      links: (span.references ?? []).flatMap(({ traceID }) => (traceID === span.traceID ? [] : [traceID])),
    };
  });
  return { traceId: wire.traceID, spans };
}

interface Answer<T> {
  readonly data: T | null;
}

export async function trace(traceId: string, signal?: AbortSignal): Promise<Trace | null> {
  const answer = await get<Answer<readonly WireTrace[]>>(`${BASE}/traces/${encodeURIComponent(traceId)}`, {}, signal);
  const first = answer.data?.[0];
  return first ? readTrace(first) : null;
}

export interface TraceSearch {
  readonly service: string;
  readonly operation: string;
  readonly requestId: string;
  readonly minDuration: string;
  readonly maxDuration?: string;
  /** Attributes that one span of the trace must have. */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly errorsOnly: boolean;
  readonly limit: number;
}

export async function searchTraces(search: TraceSearch, range: Range, signal?: AbortSignal): Promise<Trace[]> {
  const tags: Record<string, string> = { ...search.attributes };
  if (search.requestId) tags["request.id"] = search.requestId;
  if (search.errorsOnly) tags["error"] = "true";
  const answer = await get<Answer<readonly WireTrace[]>>(
    `${BASE}/traces`,
    {
      service: search.service,
      operation: search.operation,
      tags: Object.keys(tags).length > 0 ? JSON.stringify(tags) : undefined,
      minDuration: search.minDuration,
      maxDuration: search.maxDuration,
      start: Math.floor(range.startMs * 1000),
      end: Math.floor(range.endMs * 1000),
      limit: search.limit,
    },
    signal,
  );
  return (answer.data ?? []).map(readTrace);
}

/** Services that only pass on or record what the others do. */
const BYSTANDERS: ReadonlySet<string> = new Set(["edge-gateway", "telemetry-sink"]);

/**
 * The newest traces in which the business took part. The console's own queries, which are most of
 * what the gateway and the sink see, are left out.
 */
export async function searchBusiness(search: TraceSearch, range: Range, signal?: AbortSignal): Promise<Trace[]> {
  const names = (await services(signal)).filter((name) => !BYSTANDERS.has(name));
  const found = await Promise.all(names.map((service) => searchTraces({ ...search, service }, range, signal)));
  const traces = new Map(found.flat().map((one) => [one.traceId, one]));
  const started = (one: Trace): number => one.spans.reduce((least, span) => Math.min(least, span.startUs), Infinity);
  return [...traces.values()].sort((left, right) => started(right) - started(left)).slice(0, search.limit);
}

export async function services(signal?: AbortSignal): Promise<readonly string[]> {
  const answer = await get<Answer<readonly string[]>>(`${BASE}/services`, {}, signal);
  return answer.data ?? [];
}

export async function operations(service: string, signal?: AbortSignal): Promise<readonly string[]> {
  const answer = await get<Answer<readonly string[]>>(
    `${BASE}/services/${encodeURIComponent(service)}/operations`,
    {},
    signal,
  );
  return answer.data ?? [];
}

export interface ServiceNode {
  readonly service: string;
  readonly requests: number;
  readonly errors: number;
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
}

export interface ServiceEdge {
  readonly client: string;
  readonly server: string;
  readonly calls: number;
  readonly errors: number;
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
}

export interface ServiceGraph {
  /** Spans of the asked time were left out: there were more than the server counts. */
  readonly truncated: boolean;
  readonly nodes: readonly ServiceNode[];
  readonly edges: readonly ServiceEdge[];
}

interface Times {
  readonly p50_ms?: number | null;
  readonly p95_ms?: number | null;
}

export interface WireGraph {
  readonly nodes: readonly (Times & { service: string; requests: number; errors: number })[];
  readonly edges: readonly (Times & { client: string; server: string; calls: number; errors: number })[];
  readonly truncated?: boolean;
}

/** Who called whom in the spans of a range; null where the server does not tell. */
export async function serviceGraph(range: Range, signal?: AbortSignal): Promise<ServiceGraph | null> {
  const asked = { start: Math.floor(range.startMs / 1000), end: Math.ceil(range.endMs / 1000) };
  const wire = await optional(get<WireGraph>("/telemetry/v1/service-graph", asked, signal));
  return wire && readGraph(wire);
}

export function readGraph(wire: WireGraph): ServiceGraph {
  const times = (one: Times) => ({ p50Ms: one.p50_ms ?? null, p95Ms: one.p95_ms ?? null });
  return {
    truncated: wire.truncated === true,
    nodes: wire.nodes.map((node) => ({ service: node.service, requests: node.requests, errors: node.errors, ...times(node) })),
    edges: wire.edges.map((edge) => ({
      client: edge.client,
      server: edge.server,
      calls: edge.calls,
      errors: edge.errors,
      ...times(edge),
    })),
  };
}
