// What the pointer does on a chart: figures under it, dragging over a range, dots that open something.

import uPlot from "uplot";
import { dateTime, inUnit, type Unit } from "../format";
import type { Dot, Line } from "../lib/chart-data";
import type { Range } from "../lib/time-range";

export interface Look {
  readonly lines: readonly Line[];
  readonly tones: readonly number[];
  readonly unit: Unit;
  readonly height: number;
  readonly hidden: ReadonlySet<string>;
  readonly fill: boolean;
  readonly stacked: boolean;
  readonly group: string | undefined;
  /** What may change while the chart stays. */
  readonly latest: {
    readonly current: {
      readonly aligned: uPlot.AlignedData;
      readonly dots: readonly Dot[];
      readonly onZoom: ((range: Range) => void) | undefined;
      readonly range: Range | undefined;
    };
  };
}

const TOOLTIP_ROWS = 12;

export function tooltip(look: Look): uPlot.Plugin {
  const box = document.createElement("div");
  box.className = "chart-tip";
  box.hidden = true;
  return {
    hooks: {
      init: (plot) => {
        plot.over.append(box);
        plot.over.addEventListener("mouseleave", () => {
          box.hidden = true;
        });
      },
      setCursor: (plot) => {
        const index = plot.cursor.idx;
        const left = plot.cursor.left ?? -1;
        if (index === null || index === undefined || left < 0) {
          box.hidden = true;
          return;
        }
        box.hidden = false;
        box.replaceChildren(...tipRows(plot, index, look));
        const flip = left > plot.over.clientWidth / 2;
        box.style.left = flip ? "" : `${left + 12}px`;
        box.style.right = flip ? `${plot.over.clientWidth - left + 12}px` : "";
      },
    },
  };
}

function tipRows(plot: uPlot, index: number, look: Look): HTMLElement[] {
  const time = document.createElement("time");
  time.textContent = dateTime((plot.data[0][index] ?? 0) * 1000);
  const rows = look.lines
    .map((line, at) => ({ line, tone: look.tones[at] ?? 0, value: look.latest.current.aligned[at + 1]?.[index] }))
    .filter(({ line, value }) => value !== null && value !== undefined && !look.hidden.has(line.name))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0))
    .slice(0, TOOLTIP_ROWS)
    .map(({ line, tone, value }) => {
      const row = document.createElement("p");
      row.className = `tone-${tone}`;
      const mark = document.createElement("i");
      const name = document.createElement("span");
      name.textContent = line.name;
      const figure = document.createElement("b");
      figure.textContent = inUnit(value, look.unit);
      row.append(mark, name, figure);
      return row;
    });
  return [time, ...rows];
}

/** A drag narrows the range of the whole screen, and not of one chart. */
export function zoom(look: Look): uPlot.Plugin {
  return {
    hooks: {
      setSelect: (plot) => {
        const { left, width } = plot.select;
        const onZoom = look.latest.current.onZoom;
        if (width < 5 || !onZoom) return;
        const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
        plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        onZoom({ startMs: from * 1000, endMs: Math.max(to * 1000, from * 1000 + 1000) });
      },
    },
  };
}

const DOT = 4;
const NEAR = 9;

/** Dots over the lines. They are pictures: what they open is listed beside the chart, too. */
export function dotted(look: Look, fill: string, edge: string): uPlot.Plugin {
  const place = (plot: uPlot, dot: Dot, onCanvas: boolean): readonly [number, number] => {
    const top = plot.scales["y"]?.max ?? dot.value;
    return [plot.valToPos(dot.atSeconds, "x", onCanvas), plot.valToPos(Math.min(dot.value, top), "y", onCanvas)];
  };
  const near = (plot: uPlot): Dot | undefined => {
    const [left, top] = [plot.cursor.left ?? -1, plot.cursor.top ?? -1];
    return look.latest.current.dots.find((dot) => {
      const [x, y] = place(plot, dot, false);
      return Math.hypot(x - left, y - top) <= NEAR;
    });
  };
  return {
    hooks: {
      init: (plot) => {
        plot.over.addEventListener("click", () => near(plot)?.open());
      },
      setCursor: (plot) => {
        const dot = near(plot);
        plot.over.style.cursor = dot ? "pointer" : "";
        plot.over.title = dot?.title ?? "";
      },
      draw: (plot) => {
        const { ctx } = plot;
        const scale = devicePixelRatio;
        const [first, last] = [plot.scales["x"]?.min ?? 0, plot.scales["x"]?.max ?? 0];
        ctx.save();
        ctx.fillStyle = fill;
        ctx.strokeStyle = edge;
        ctx.lineWidth = scale;
        for (const dot of look.latest.current.dots) {
          if (dot.atSeconds < first || dot.atSeconds > last) continue;
          const [x, y] = place(plot, dot, true);
          ctx.beginPath();
          const reach = DOT * scale * 1.2;
          ctx.moveTo(x, y - reach);
          ctx.lineTo(x + reach, y);
          ctx.lineTo(x, y + reach);
          ctx.lineTo(x - reach, y);
          ctx.closePath();
          ctx.fill();
          ctx.stroke();
        }
        ctx.restore();
      },
    },
  };
}
