// Time series on a canvas (uPlot), themed from CSS custom properties, with a legend that is a
// real table: the canvas is a picture to assistive technology, the table carries the figures.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { axisTime, inUnit, type Unit } from "../format";
import { seriesTones } from "../lib/tone";
import type { Point } from "../api/prometheus";

export interface Line {
  readonly name: string;
  readonly points: readonly Point[];
}

interface ChartProps {
  readonly label: string;
  readonly lines: readonly Line[];
  readonly unit: Unit;
  readonly height?: number;
  readonly legend?: "full" | "short";
  readonly fill?: boolean;
}

export function Chart({ label, lines, unit, height = 200, legend = "short", fill = false }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const tones = useMemo(() => seriesTones(lines.map(({ name }) => name)), [lines]);
  const data = useMemo(() => align(lines), [lines]);
  const plot = useRef<uPlot | null>(null);
  const shape = `${theme}|${unit}|${height}|${fill}|${lines.map(({ name }) => name).join("\u0000")}|${[...hidden].join("\u0000")}`;

  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const options = chartOptions(element, { lines, tones, unit, height, hidden, fill });
    const made = new uPlot(options, data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data), [data]);

  const toggle = (name: string): void => {
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    setHidden(next);
  };
  return (
    <figure class="chart">
      <div ref={host} class="chart-canvas" role="img" aria-label={`${label}, chart of ${lines.length} series`} />
      <Legend lines={lines} tones={tones} unit={unit} full={legend === "full"} hidden={hidden} toggle={toggle} />
    </figure>
  );
}

interface LegendProps {
  readonly lines: readonly Line[];
  readonly tones: readonly number[];
  readonly unit: Unit;
  readonly full: boolean;
  readonly hidden: ReadonlySet<string>;
  readonly toggle: (name: string) => void;
}

const LEGEND_ROWS = 50;

function Legend({ lines, tones, unit, full, hidden, toggle }: LegendProps) {
  const rows = lines.slice(0, LEGEND_ROWS).map((line, at) => ({ line, tone: tones[at] ?? 0, ...summary(line) }));
  const name = (row: (typeof rows)[number]) => (
    <button
      type="button"
      class={`legend-name tone-${row.tone}`}
      aria-pressed={!hidden.has(row.line.name)}
      onClick={() => toggle(row.line.name)}
    >
      <i aria-hidden="true" />
      <span>{row.line.name}</span>
    </button>
  );
  if (!full) {
    return (
      <figcaption class="legend">
        {rows.map((row) => (
          <span key={row.line.name} class="legend-item">
            {name(row)} <b>{inUnit(row.last, unit)}</b>
          </span>
        ))}
      </figcaption>
    );
  }
  return (
    <figcaption class="scroll-x" tabIndex={0} aria-label="Figures of each series">
      <table class="table legend-table">
        <thead>
          <tr>
            <th scope="col">Series</th>
            <th scope="col" class="num">
              Min
            </th>
            <th scope="col" class="num">
              Mean
            </th>
            <th scope="col" class="num">
              Max
            </th>
            <th scope="col" class="num">
              Last
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.line.name}>
              <th scope="row">{name(row)}</th>
              <td class="num">{inUnit(row.min, unit)}</td>
              <td class="num">{inUnit(row.mean, unit)}</td>
              <td class="num">{inUnit(row.max, unit)}</td>
              <td class="num">{inUnit(row.last, unit)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {lines.length > LEGEND_ROWS && (
        <p class="muted">{lines.length - LEGEND_ROWS} more series are drawn but not listed.</p>
      )}
    </figcaption>
  );
}

function summary({ points }: Line): {
  min: number | null;
  max: number | null;
  mean: number | null;
  last: number | null;
} {
  let min = Infinity;
  let max = -Infinity;
  let sum = 0;
  let seen = 0;
  for (const [, value] of points) {
    if (!Number.isFinite(value)) continue;
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    seen += 1;
  }
  if (seen === 0) return { min: null, max: null, mean: null, last: null };
  return { min, max, mean: sum / seen, last: points.at(-1)?.[1] ?? null };
}

/** uPlot wants one shared time axis: the union of all instants, gaps as null. */
export function align(lines: readonly Line[]): uPlot.AlignedData {
  const times = [...new Set(lines.flatMap(({ points }) => points.map(([time]) => time)))].sort((a, b) => a - b);
  const columns = lines.map(({ points }) => {
    const at = new Map(points);
    return times.map((time) => {
      const value = at.get(time);
      return value === undefined || !Number.isFinite(value) ? null : value;
    });
  });
  return [times, ...columns] as uPlot.AlignedData;
}

interface Look {
  readonly lines: readonly Line[];
  readonly tones: readonly number[];
  readonly unit: Unit;
  readonly height: number;
  readonly hidden: ReadonlySet<string>;
  readonly fill: boolean;
}

function chartOptions(element: HTMLElement, look: Look): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const font = `11px ${style.fontFamily}`;
  const axis = {
    stroke: colour("--muted"),
    font,
    grid: { stroke: colour("--grid"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: Math.max(1, element.clientWidth),
    height: look.height,
    legend: { show: false },
    cursor: { points: { size: 6 }, y: false },
    padding: [10, 22, 0, 0],
    plugins: [tooltip(look)],
    scales: { y: { range: (_plot, min, max) => [Math.min(0, min ?? 0), max > 0 ? max * 1.1 : 1] } },
    axes: [
      {
        ...axis,
        space: 70,
        size: 28,
        values: (_plot, splits, _axis, _space, step) => splits.map((at) => axisTime(at * 1000, step)),
      },
      {
        ...axis,
        size: 64,
        space: 34,
        ...(look.unit === "bytes" ? { incrs: POWERS_OF_TWO } : {}),
        values: (_plot, values) => values.map((value) => inUnit(value, look.unit)),
      },
    ],
    series: [
      {},
      ...look.lines.map(({ name }, at) => {
        const stroke = colour(`--tone-${look.tones[at] ?? 0}`);
        return {
          label: name,
          stroke,
          width: 1.5,
          show: !look.hidden.has(name),
          points: { show: false },
          ...(look.fill ? { fill: `color-mix(in srgb, ${stroke} 9%, transparent)` } : {}),
        };
      }),
    ],
  };
}

/** Ticks of memory and storage stand on round binary figures. */
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, power) => 2 ** power);

const TOOLTIP_ROWS = 12;

function tooltip(look: Look): uPlot.Plugin {
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
  time.textContent = new Date((plot.data[0][index] ?? 0) * 1000).toLocaleString();
  const rows = look.lines
    .map((line, at) => ({ line, tone: look.tones[at] ?? 0, value: plot.data[at + 1]?.[index] }))
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

function useTheme(): string {
  const media = useMemo(() => matchMedia("(prefers-color-scheme: light)"), []);
  const [light, setLight] = useState(media.matches);
  useEffect(() => {
    const update = (): void => setLight(media.matches);
    media.addEventListener("change", update);
    return () => media.removeEventListener("change", update);
  }, [media]);
  return light ? "light" : "dark";
}
