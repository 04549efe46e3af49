// Exemplars: single measurements that name the trace they were taken in, as diamonds on a chart and as links beside it.

import type { Exemplar } from "../api/prometheus";
import { inUnit, type Unit } from "../format";
import type { Dot } from "../lib/chart-data";
import { tracePath } from "../lib/routes";
import { navigate } from "../router";
import { TraceLink } from "./basics";

const MOST_DOTS = 500;
const MOST_LINKS = 4;

/** They stand on the axis of a duration or a size, and not on that of a rate. */
export function exemplarDots(found: readonly Exemplar[], unit: Unit): Dot[] {
  if (unit === "rate") return [];
  return found.slice(0, MOST_DOTS).map(({ traceId, atSeconds, value }) => ({
    atSeconds,
    value,
    title: `${inUnit(value, unit)}, open its trace`,
    open: () => navigate(tracePath(traceId)),
  }));
}

export function largestFirst(found: readonly Exemplar[]): readonly Exemplar[] {
  return [...found].sort((left, right) => right.value - left.value);
}

/** The canvas is a picture: the slowest are links of their own. */
export function ExemplarLinks({ found, unit }: { found: readonly Exemplar[]; unit: Unit }) {
  return (
    <p class="exemplar-links">
      <span class="diamond" aria-hidden="true" /> Traces of the largest:
      {largestFirst(found)
        .slice(0, MOST_LINKS)
        .map(({ traceId, value }) => (
          <TraceLink key={traceId} id={traceId} label={inUnit(value, unit)} />
        ))}
    </p>
  );
}
