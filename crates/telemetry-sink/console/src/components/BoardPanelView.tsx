// One panel of a dashboard. It asks for nothing before it is in view.

import { useEffect, useRef, useState } from "preact/hooks";
import { opened, logPage, nanos } from "../api/loki";
import { ask, askRange, type Series } from "../api/prometheus";
import { inUnit, type Unit } from "../format";
import { useResource } from "../hooks";
import type { Line } from "../lib/chart-data";
import { toneOf, type BoardPanel } from "../lib/dashboard";
import { legendNames } from "../lib/promql";
import { href } from "../lib/routes";
import { periodQuery, rangeOf, stepFor, type Period, type Range } from "../lib/time-range";
import { interpolate, legendOf, type Chosen } from "../lib/variables";
import { Empty, Failure, Loading, Panel } from "./basics";
import { Chart } from "./Chart";
import { Icon } from "./Icon";
import { Bars, Gauge, StatTiles, type Figure } from "./figures";
import { LogTable } from "./LogTable";
import { ResultTable } from "./ResultTable";

const REFRESH_MS = 15_000;
/** One point for so many pixels is as fine as an eye sees. */
const PIXELS_A_POINT = 4;
const LEAST_STEP = 5;
const LOG_LINES = 100;
/** With the gap below it. */
const ROW_HEIGHT = 38;
/** Head, padding and legend of a panel. */
const AROUND_CHART = 100;

interface ViewProps {
  readonly panel: BoardPanel;
  readonly period: Period;
  readonly chosen: Chosen;
  readonly zoom: (range: Range) => void;
}

export function BoardPanelView({ panel, period, chosen, zoom }: ViewProps) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSeen(box);
  if (panel.kind === "row") return <h2 class="board-row">{panel.title}</h2>;
  return (
    <div ref={box} class="board-panel">
      <Panel
        title={panel.title || "Panel"}
        note={<PanelLink panel={panel} period={period} chosen={chosen} />}
        flush={panel.kind === "logs" || panel.kind === "table"}
        plain
      >
        {panel.kind === "text" && <p class="board-text">{panel.text}</p>}
        {panel.kind !== "text" && !seen && <Loading what="the panel" />}
        {panel.kind !== "text" && seen && <Asked panel={panel} period={period} chosen={chosen} zoom={zoom} />}
      </Panel>
    </div>
  );
}

function PanelLink({ panel, period, chosen }: { panel: BoardPanel; period: Period; chosen: Chosen }) {
  const range = rangeOf(period, Date.now());
  const expressions = panel.queries.slice(0, 4).map(({ expression }) => interpolate(expression, chosen, range, stepFor(range)));
  if (expressions.length === 0) return null;
  const times = { ...periodQuery(period) };
  const to =
    panel.kind === "logs"
      ? href("/logs", { q: expressions[0], ...times })
      : href("/explore", { q: expressions[0], q2: expressions[1], q3: expressions[2], q4: expressions[3], ...times });
  return (
    <a class="board-link" href={to} aria-label={`Explore ${panel.title}`} title="Explore">
      <Icon name={panel.kind === "logs" ? "logs" : "explore"} size={14} />
    </a>
  );
}

/** Whether the element was in view once. */
function useSeen(box: { current: HTMLElement | null }): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const element = box.current;
    if (!element || seen) return undefined;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
      },
      { rootMargin: "200px" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [seen]);
  return seen;
}

interface Named {
  readonly name: string;
  readonly series: Series;
}

function named(series: readonly Series[], legend: string): Named[] {
  const names = legendNames(series.map(({ labels }) => labels));
  return series.map((one, at) => ({ name: legendOf(legend, one.labels) || names[at] || "value", series: one }));
}

function Asked(props: ViewProps) {
  const { panel } = props;
  if (panel.queries.length === 0) return <Empty icon="explore" title="This panel asks nothing" />;
  if (panel.kind === "logs") return <Lines {...props} />;
  if (panel.kind === "timeseries") return <Plot {...props} />;
  return <Instant {...props} />;
}

function Plot({ panel, period, chosen, zoom }: ViewProps) {
  const points = Math.max(60, ((panel.w / 24) * 1200) / PIXELS_A_POINT);
  const { data, error, reload } = useResource(
    async (signal) => {
      const range = rangeOf(period, Date.now());
      const step = Math.max(LEAST_STEP, stepFor(range, points));
      const answers = await Promise.all(
        panel.queries.map(async ({ expression, legend }) => {
          const { series } = await askRange(interpolate(expression, chosen, range, step), range, step, signal);
          return named(series, legend);
        }),
      );
      return { range, lines: distinct(answers.flat()) };
    },
    [panel, period, [...chosen]],
    { everyMs: period.fixed ? undefined : REFRESH_MS },
  );
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="the chart" />;
  if (data.lines.length === 0) return <Nothing />;
  return (
    <Chart
      label={panel.title}
      lines={data.lines}
      unit={panel.unit}
      height={Math.max(110, panel.h * ROW_HEIGHT - AROUND_CHART)}
      stacked={panel.stacked}
      fill={panel.unit === "rate" && data.lines.length === 1}
      range={data.range}
      group="board"
      onZoom={zoom}
    />
  );
}

/** A legend cannot tell two lines of the same name apart. */
function distinct(all: readonly Named[]): Line[] {
  const seen = new Map<string, number>();
  return all.map(({ name, series }) => {
    const times = (seen.get(name) ?? 0) + 1;
    seen.set(name, times);
    return { name: times === 1 ? name : `${name} (${times})`, points: series.points };
  });
}

function Nothing() {
  return <p class="board-nothing muted">Nothing recorded in this range</p>;
}

function Instant({ panel, period, chosen }: ViewProps) {
  const { data, error, reload } = useResource(
    async (signal) => {
      const range = rangeOf(period, Date.now());
      const step = stepFor(range);
      const answers = await Promise.all(
        panel.queries.map(async ({ expression, legend }) => {
          const { series } = await ask(interpolate(expression, chosen, range, step), range.endMs, signal);
          return named(series, legend);
        }),
      );
      const figures = answers.flat();
      const spark = panel.kind === "stat" && figures.length === 1;
      const past = spark ? await pastOf(panel, chosen, range, signal) : [];
      return { figures, past };
    },
    [panel, period, [...chosen]],
    { everyMs: period.fixed ? undefined : REFRESH_MS },
  );
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="the figures" />;
  if (data.figures.length === 0) return <Nothing />;
  if (panel.kind === "table") {
    return <ResultTable caption={panel.title} series={data.figures.map(({ series }) => series)} unit={panel.unit} />;
  }
  const figures = data.figures.map(({ name, series }): Figure => {
    const value = series.points.at(-1)?.[1] ?? NaN;
    return { name, value, text: inUnit(value, panel.unit satisfies Unit), tone: toneOf(panel.thresholds, value) };
  });
  if (panel.kind === "gauge") return <Gauge figures={figures} min={panel.min} max={panel.max} unit={panel.unit} />;
  if (panel.kind === "bars") return <Bars figures={figures} max={panel.max} />;
  return <StatTiles figures={figures} past={data.past} />;
}

const SPARK_POINTS = 60;

/** What a single figure was over the range, for the line below it. */
async function pastOf(panel: BoardPanel, chosen: Chosen, range: Range, signal: AbortSignal): Promise<readonly number[]> {
  const step = Math.max(LEAST_STEP, stepFor(range, SPARK_POINTS));
  const expression = panel.queries.map((query) => query.expression).find((text) => text !== "") ?? "";
  const { series } = await askRange(interpolate(expression, chosen, range, step), range, step, signal);
  return series.length === 1 ? (series[0]?.points ?? []).map(([, value]) => value).filter(Number.isFinite) : [];
}

function Lines({ panel, period, chosen }: ViewProps) {
  const { data, error, reload } = useResource(
    async (signal) => {
      const range = rangeOf(period, Date.now());
      const expression = interpolate(panel.queries[0]?.expression ?? "", chosen, range, stepFor(range));
      return (await logPage(expression, nanos(range), LOG_LINES, signal)).map(opened);
    },
    [panel, period, [...chosen]],
    { everyMs: period.fixed ? undefined : REFRESH_MS },
  );
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="log lines" />;
  if (data.length === 0) return <Nothing />;
  return (
    <div class="board-lines" tabIndex={0} role="group" aria-label={panel.title}>
      <LogTable lines={data} />
    </div>
  );
}
