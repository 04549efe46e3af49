// Time series on a canvas (uPlot), themed from CSS custom properties, with a legend that is a
// real table: the canvas is a picture to assistive technology, the table carries the figures.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { axisTime, inUnit, type Unit } from "../format";
import { align, stack, type Dot, type Line } from "../lib/chart-data";
import type { Range } from "../lib/time-range";
import { seriesTones } from "../lib/tone";
import { dotted, tooltip, zoom, type Look } from "./chart-plugins";
import { ChartLegend } from "./ChartLegend";

export type { Line } from "../lib/chart-data";

interface ChartProps {
  readonly label: string;
  readonly lines: readonly Line[];
  readonly unit: Unit;
  readonly height?: number;
  readonly legend?: "full" | "short";
  readonly fill?: boolean;
  readonly stacked?: boolean;
  readonly dots?: readonly Dot[];
  /** What was asked for: the axis covers it, whether or not there is anything to draw. */
  readonly range?: Range | undefined;
  /** Called with what was dragged over. */
  readonly onZoom?: ((range: Range) => void) | undefined;
  /** Charts with the same key show the same instant under the pointer. */
  readonly group?: string;
}

const NO_DOTS: readonly Dot[] = [];

export function Chart(props: ChartProps) {
  const { label, lines, unit, height = 200, legend = "short", fill = false, stacked = false, group } = props;
  const host = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const tones = useMemo(() => seriesTones(lines.map(({ name }) => name)), [lines]);
  const aligned = useMemo(() => align(lines), [lines]);
  const data = useMemo(
    () => (stacked ? stack(aligned, lines.map(({ name }) => hidden.has(name))) : aligned),
    [aligned, stacked, hidden],
  );
  const now = { aligned, dots: props.dots ?? NO_DOTS, onZoom: props.onZoom, range: props.range };
  const latest = useRef(now);
  latest.current = now;
  const plot = useRef<uPlot | null>(null);
  const shape = `${theme}|${unit}|${height}|${fill}|${stacked}|${group}|${props.onZoom !== undefined}|${lines.map(({ name }) => name).join("\u0000")}|${[...hidden].join("\u0000")}`;

  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const options = chartOptions(element, { lines, tones, unit, height, hidden, fill, stacked, group, latest });
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
  useEffect(() => plot.current?.redraw(false), [props.dots]);

  const toggle = (name: string): void => {
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    setHidden(next);
  };
  return (
    <figure class="chart">
      <div ref={host} class="chart-canvas" role="img" aria-label={`${label}, chart of ${lines.length} series`} />
      <ChartLegend lines={lines} tones={tones} unit={unit} full={legend === "full"} hidden={hidden} toggle={toggle} />
    </figure>
  );
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
    cursor: {
      points: { size: 6 },
      y: false,
      drag: { x: look.latest.current.onZoom !== undefined, y: false, setScale: false },
      ...(look.group === undefined ? {} : { sync: { key: look.group } }),
    },
    padding: [10, 12, 0, 0],
    plugins: [tooltip(look), zoom(look), dotted(look, colour("--warn"), colour("--panel"))],
    ...(look.stacked ? { bands: bandsOf(look) } : {}),
    scales: {
      x: {
        range: (_plot, min, max) => {
          const asked = look.latest.current.range;
          return asked ? [asked.startMs / 1000, asked.endMs / 1000] : [min, max];
        },
      },
      y: { range: (_plot, min, max) => [Math.min(0, min ?? 0), max > 0 ? max * 1.1 : 1] },
    },
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
      ...look.lines.map(({ name, dashed }, at) => {
        const stroke = colour(`--tone-${look.tones[at] ?? 0}`);
        return {
          label: name,
          stroke,
          width: dashed ? 1 : 1.5,
          ...(dashed ? { dash: [4, 4] } : {}),
          show: !look.hidden.has(name),
          // A line needs two points; a single one is drawn as itself.
          points: { show: lonely(look, at), size: 5 },
          ...(look.stacked || look.fill
            ? { fill: `color-mix(in srgb, ${stroke} ${look.stacked ? 35 : 9}%, transparent)` }
            : {}),
        };
      }),
    ],
  };
}

function lonely(look: Look, at: number): boolean {
  return (look.lines[at]?.points.length ?? 0) === 1;
}

/** Between each shown column and the shown one below it. */
function bandsOf(look: Look): uPlot.Band[] {
  const shown = look.lines.flatMap(({ name }, at) => (look.hidden.has(name) ? [] : [at + 1]));
  return shown.slice(1).map((column, at) => ({ series: [column, shown[at] ?? 0] as [number, number] }));
}

/** Ticks of memory and storage stand on round binary figures. */
const POWERS_OF_TWO = Array.from({ length: 50 }, (_, power) => 2 ** power);

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
