// Series as a chart wants them: one time axis for all, gaps as null, one on top of the other where asked.

import type uPlot from "uplot";
import type { Point } from "../api/prometheus";

export interface Line {
  readonly name: string;
  readonly points: readonly Point[];
  /** What is only there to compare with. */
  readonly dashed?: boolean;
}

/** A measured sample with something behind it, drawn as a dot that opens it. */
export interface Dot {
  readonly atSeconds: number;
  readonly value: number;
  readonly title: string;
  readonly open: () => void;
}

/** uPlot wants one shared time axis: the union of all instants, gaps as null. */
export function align(lines: readonly Line[]): uPlot.AlignedData {
  const first = lines[0]?.points ?? [];
  if (lines.every(({ points }) => sameTimes(points, first))) {
    const values = lines.map(({ points }) => points.map(([, value]) => (Number.isFinite(value) ? value : null)));
    return [first.map(([time]) => time), ...values] as uPlot.AlignedData;
  }
  const seen = new Set<number>();
  for (const { points } of lines) for (const [time] of points) seen.add(time);
  const times = [...seen].sort((a, b) => a - b);
  const columns = lines.map(({ points }) => {
    const at = new Map(points);
    return times.map((time) => {
      const value = at.get(time);
      return value === undefined || !Number.isFinite(value) ? null : value;
    });
  });
  return [times, ...columns] as uPlot.AlignedData;
}

/** As the answer of one query without gaps: nothing has to be looked up. */
function sameTimes(left: readonly Point[], right: readonly Point[]): boolean {
  return left.length === right.length && left.every(([time], at) => time === right[at]?.[0]);
}

/** Each column on top of those before it; hidden ones add nothing. */
export function stack(data: uPlot.AlignedData, hidden: readonly boolean[]): uPlot.AlignedData {
  const [times, ...columns] = data;
  const sums = new Float64Array(times.length);
  const stacked = columns.map((column, at) => {
    if (hidden[at]) return [...column];
    return Array.from(column, (value, row) => {
      sums[row] = (sums[row] ?? 0) + (value ?? 0);
      return sums[row] ?? 0;
    });
  });
  return [times, ...stacked] as uPlot.AlignedData;
}
