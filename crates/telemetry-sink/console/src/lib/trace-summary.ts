// One trace as a row of a list.

import type { Span } from "./waterfall";

export interface TraceSummary {
  readonly traceId: string;
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  readonly spans: number;
  readonly errors: number;
  /** In order of first appearance. */
  readonly services: readonly string[];
}

export function summarize(trace: { readonly traceId: string; readonly spans: readonly Span[] }): TraceSummary {
  const spans = [...trace.spans].sort((left, right) => left.startUs - right.startUs);
  const known = new Set(spans.map((span) => span.spanId));
  const root = spans.find((span) => span.parentId === null || !known.has(span.parentId)) ?? spans[0];
  const startUs = spans[0]?.startUs ?? 0;
  const endUs = spans.reduce((most, span) => Math.max(most, span.startUs + span.durationUs), startUs);
  return {
    traceId: trace.traceId,
    name: titleOf(spans, root),
    startUs,
    durationUs: endUs - startUs,
    spans: spans.length,
    errors: spans.filter((span) => span.error).length,
    services: [...new Set(spans.map((span) => span.service))],
  };
}

/** The gateway knows only the prefix it routes by: what it called names the request better. */
export function titleOf(spans: readonly Span[], root: Span | undefined): string {
  const called = spans.find((span) => span.parentId === root?.spanId && span.service !== root?.service);
  const better = root && called && sameVerb(root.name, called.name) ? called : root;
  return better?.name ?? "unknown";
}

function sameVerb(left: string, right: string): boolean {
  return left.split(" ")[0] === right.split(" ")[0];
}
