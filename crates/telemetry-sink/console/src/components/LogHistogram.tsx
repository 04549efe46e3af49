// How many lines fall into each step of the range, by severity. Dragging over it, or a click on one step,
// narrows the range.

import { useRef, useState } from "preact/hooks";
import type { Counted, StoredLine } from "../api/loki";
import { axisTime, count } from "../format";
import type { Range } from "../lib/time-range";

export interface Slice {
  readonly startMs: number;
  readonly bad: number;
  readonly warn: number;
  readonly info: number;
  readonly rest: number;
}

const KINDS = ["rest", "info", "warn", "bad"] as const;
type Kind = (typeof KINDS)[number];
const NAMES: Readonly<Record<Kind, string>> = { bad: "errors", warn: "warnings", info: "info", rest: "other" };

export function kindOf(level: string): Kind {
  if (level === "error" || level === "fatal" || level === "critical") return "bad";
  if (level === "warn" || level === "warning") return "warn";
  return level === "info" ? "info" : "rest";
}

function blank(range: Range, stepMs: number): (Record<Kind, number> & { startMs: number })[] {
  const wanted = Math.max(1, Math.ceil((range.endMs - range.startMs) / stepMs));
  return Array.from({ length: wanted }, (_, at) => ({
    startMs: range.startMs + at * stepMs,
    bad: 0,
    warn: 0,
    info: 0,
    rest: 0,
  }));
}

/** From what the server counted; each of its points stands for the step that ends there. */
export function countedSlices(counted: readonly Counted[], range: Range, stepMs: number): Slice[] {
  const slices = blank(range, stepMs);
  for (const { value, points } of counted) {
    const kind = kindOf(value);
    for (const [atMs, lines] of points) {
      const at = Math.round((atMs - range.startMs) / stepMs) - 1;
      const slice = slices[Math.max(0, Math.min(slices.length - 1, at))];
      if (slice) slice[kind] += lines;
    }
  }
  return slices;
}

/** From the lines at hand, which may be fewer than there are. */
export function loadedSlices(lines: readonly StoredLine[], range: Range, stepMs: number): Slice[] {
  const slices = blank(range, stepMs);
  for (const { nanos, stream } of lines) {
    const at = Math.floor((Number(nanos.slice(0, -6)) - range.startMs) / stepMs);
    const slice = slices[Math.max(0, Math.min(slices.length - 1, at))];
    if (slice) slice[kindOf(stream["level"] ?? stream["detected_level"] ?? "")] += 1;
  }
  return slices;
}

const total = (slice: Slice): number => slice.bad + slice.warn + slice.info + slice.rest;

interface HistogramProps {
  readonly slices: readonly Slice[];
  readonly stepMs: number;
  readonly onZoom: (range: Range) => void;
}

export function LogHistogram({ slices, stepMs, onZoom }: HistogramProps) {
  const bars = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);
  const [over, setOver] = useState<number | null>(null);
  const most = Math.max(...slices.map(total), 1);
  const at = (event: PointerEvent): number => {
    const box = bars.current?.getBoundingClientRect();
    if (!box || slices.length === 0) return 0;
    const part = (event.clientX - box.left) / Math.max(1, box.width);
    return Math.max(0, Math.min(slices.length - 1, Math.floor(part * slices.length)));
  };
  const release = (): void => {
    if (!drag) return;
    const [first, last] = [slices[Math.min(drag.from, drag.to)], slices[Math.max(drag.from, drag.to)]];
    setDrag(null);
    if (first && last) onZoom({ startMs: first.startMs, endMs: last.startMs + stepMs });
  };
  const chosen = (index: number): boolean =>
    drag !== null && index >= Math.min(drag.from, drag.to) && index <= Math.max(drag.from, drag.to);
  const shown = over === null ? undefined : slices[over];
  return (
    <div class="histogram" aria-hidden="true">
      <div class="histogram-scale">
        <span>{count(most)}</span>
        <span>0</span>
      </div>
      <div
        ref={bars}
        class="histogram-bars"
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          setDrag({ from: at(event), to: at(event) });
        }}
        onPointerMove={(event) => {
          setOver(at(event));
          if (drag) setDrag({ ...drag, to: at(event) });
        }}
        onPointerUp={release}
        onPointerCancel={() => setDrag(null)}
        onPointerLeave={() => setOver(null)}
      >
        {slices.map((slice, index) => (
          <span key={index} class={chosen(index) ? "chosen" : ""}>
            {KINDS.map((kind) => (
              <i key={kind} class={kind} style={{ height: `${(slice[kind] / most) * 100}%` }} />
            ))}
          </span>
        ))}
        {shown && (
          <p class="histogram-tip" style={tipPlace(over ?? 0, slices.length)}>
            <time>{axisTime(shown.startMs, 1)}</time> {count(total(shown))} lines
            {KINDS.toReversed().map((kind) =>
              shown[kind] > 0 ? (
                <span key={kind} class={kind}>
                  {count(shown[kind])} {NAMES[kind]}
                </span>
              ) : null,
            )}
          </p>
        )}
      </div>
      <div class="histogram-axis">
        {axisMarks(slices).map((slice) => (
          <span key={slice.startMs}>{axisTime(slice.startMs, stepMs >= 60_000 ? 60 : 1)}</span>
        ))}
      </div>
    </div>
  );
}

function tipPlace(index: number, length: number): Record<string, string> {
  const part = (index / Math.max(1, length)) * 100;
  return part > 50 ? { right: `${100 - part}%`, left: "auto" } : { left: `${part}%`, right: "auto" };
}

const MARKS = 6;

function axisMarks(slices: readonly Slice[]): readonly Slice[] {
  return Array.from({ length: MARKS }, (_, at) => slices[Math.floor((at * slices.length) / MARKS)]).filter(
    (slice) => slice !== undefined,
  );
}
