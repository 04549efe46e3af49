// Traces as dots, time against duration on a logarithmic axis: outliers stand apart. The table
// below lists the same traces, so the picture is hidden from assistive technology.

import { axisTime, clockTime, latency } from "../format";
import type { TraceSummary } from "../lib/trace-summary";
import { tracePath } from "../lib/routes";
import { navigate } from "../router";

const WIDTH = 1000;
const HEIGHT = 120;
const PAD = 14;
const MARKS = 5;

export function Scatter({ traces }: { traces: readonly TraceSummary[] }) {
  const times = traces.map((trace) => trace.startUs);
  const logs = traces.map((trace) => Math.log10(Math.max(1, trace.durationUs)));
  const [firstTime, lastTime] = extent(times);
  const low = Math.floor(Math.min(...logs));
  const high = Math.max(low + 1, Math.ceil(Math.max(...logs)));
  const x = (time: number): number =>
    PAD + ((time - firstTime) / Math.max(1, lastTime - firstTime)) * (WIDTH - 2 * PAD);
  const y = (log: number): number => HEIGHT - PAD - ((log - low) / (high - low)) * (HEIGHT - 2 * PAD);
  const decades = Array.from({ length: high - low + 1 }, (_, at) => low + at);
  const marks = Array.from({ length: MARKS }, (_, at) => (firstTime + ((lastTime - firstTime) * at) / (MARKS - 1)) / 1000);
  const stepSeconds = (lastTime - firstTime) / 1e6 / MARKS;
  return (
    <>
      <div class="scatter" aria-hidden="true">
        <div class="scatter-axis">
          {decades.reverse().map((decade) => (
            <span key={decade}>{latency(10 ** decade)}</span>
          ))}
        </div>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none">
          {decades.map((decade) => (
            <line key={decade} x1="0" x2={WIDTH} y1={y(decade)} y2={y(decade)} vectorEffect="non-scaling-stroke" />
          ))}
        </svg>
        <div class="scatter-dots">
          {traces.map((trace, at) => (
            <button
              key={trace.traceId}
              type="button"
              tabIndex={-1}
              class={trace.errors > 0 ? "bad" : ""}
              title={`${trace.name}, ${latency(trace.durationUs)}, ${clockTime(trace.startUs / 1000)}`}
              style={{ left: `${(x(trace.startUs) / WIDTH) * 100}%`, top: `${(y(logs[at] ?? low) / HEIGHT) * 100}%` }}
              onClick={() => navigate(tracePath(trace.traceId))}
            />
          ))}
        </div>
      </div>
      <p class="scatter-times" aria-hidden="true">
        {marks.map((atMs, at) => (
          <span key={at}>{axisTime(atMs, stepSeconds)}</span>
        ))}
      </p>
    </>
  );
}

function extent(values: readonly number[]): readonly [number, number] {
  return [Math.min(...values), Math.max(...values)];
}
