// How many of the found lines fall into each slice of the range, by severity.

import type { LogLine } from "../api/loki";
import { clockTime } from "../format";
import type { Range } from "../lib/time-range";

const SLICES = 80;

export interface Slice {
  readonly startMs: number;
  readonly bad: number;
  readonly warn: number;
  readonly rest: number;
}

export function slices(lines: readonly LogLine[], range: Range, wanted = SLICES): Slice[] {
  const width = Math.max(1, (range.endMs - range.startMs) / wanted);
  const counts = Array.from({ length: wanted }, (_, at) => ({
    startMs: range.startMs + at * width,
    bad: 0,
    warn: 0,
    rest: 0,
  }));
  for (const line of lines) {
    const slice = counts[Math.min(wanted - 1, Math.floor((line.atMs - range.startMs) / width))];
    if (!slice) continue;
    if (line.level === "error" || line.level === "fatal") slice.bad += 1;
    else if (line.level === "warn") slice.warn += 1;
    else slice.rest += 1;
  }
  return counts;
}

export function LogHistogram({ lines, range }: { lines: readonly LogLine[]; range: Range }) {
  const counts = slices(lines, range);
  const most = Math.max(...counts.map((slice) => slice.bad + slice.warn + slice.rest), 1);
  return (
    <div class="histogram" aria-hidden="true">
      {counts.map((slice) => {
        const total = slice.bad + slice.warn + slice.rest;
        return (
          <span key={slice.startMs} title={`${clockTime(slice.startMs)}: ${total} lines, ${slice.bad} errors`}>
            <i class="rest" style={{ height: `${(slice.rest / most) * 100}%` }} />
            <i class="warn" style={{ height: `${(slice.warn / most) * 100}%` }} />
            <i class="bad" style={{ height: `${(slice.bad / most) * 100}%` }} />
          </span>
        );
      })}
    </div>
  );
}
