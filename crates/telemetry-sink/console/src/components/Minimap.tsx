// The whole trace in a strip: where in time its spans lie, and which part of it the waterfall shows. Dragging
// chooses a part; the buttons of a span's details do the same for the keyboard.

import { useRef, useState } from "preact/hooks";
import { serviceTone } from "../lib/tone";
import type { Row, Span } from "../lib/waterfall";

/** A part of a trace, as fractions of its duration. */
export interface Part {
  readonly from: number;
  readonly to: number;
}

export const WHOLE: Part = { from: 0, to: 1 };

const MOST_BARS = 160;
const LEAST = 0.005;

interface MinimapProps {
  readonly rows: readonly Row<Span>[];
  readonly part: Part;
  readonly choose: (part: Part) => void;
}

export function Minimap({ rows, part, choose }: MinimapProps) {
  const box = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<Part | null>(null);
  const every = Math.max(1, Math.ceil(rows.length / MOST_BARS));
  const shown = rows.filter((_, at) => at % every === 0);
  const at = (event: PointerEvent): number => {
    const edges = box.current?.getBoundingClientRect();
    return edges ? Math.max(0, Math.min(1, (event.clientX - edges.left) / Math.max(1, edges.width))) : 0;
  };
  const chosen = drag ? { from: Math.min(drag.from, drag.to), to: Math.max(drag.from, drag.to) } : part;
  return (
    <div
      ref={box}
      class="minimap"
      aria-hidden="true"
      title="Drag to look at a part"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        setDrag({ from: at(event), to: at(event) });
      }}
      onPointerMove={(event) => drag && setDrag({ ...drag, to: at(event) })}
      onPointerUp={() => {
        setDrag(null);
        choose(chosen.to - chosen.from < LEAST ? WHOLE : chosen);
      }}
      onPointerCancel={() => setDrag(null)}
    >
      {shown.map((row, index) => (
        <i
          key={row.span.spanId}
          class={`tone-${serviceTone(row.span.service)} ${row.span.error ? "failed" : ""}`}
          style={{
            left: `${row.left * 100}%`,
            width: `${row.width * 100}%`,
            top: `${(index / shown.length) * 100}%`,
          }}
        />
      ))}
      <span class="minimap-shade" style={{ left: "0", width: `${chosen.from * 100}%` }} />
      <span class="minimap-shade" style={{ left: `${chosen.to * 100}%`, right: "0" }} />
    </div>
  );
}
