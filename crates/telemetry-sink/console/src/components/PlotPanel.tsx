// A panel with one chart of what the sink answers to a few PromQL queries.

import { exemplars, queryRange, type Series } from "../api/prometheus";
import { type Unit } from "../format";
import { useResource } from "../hooks";
import { rangeEnding, rateWindow, stepFor, type Range, type RangeName } from "../lib/time-range";
import { exemplarDots, ExemplarLinks } from "./Exemplars";
import { Empty, Failure, Loading, Panel } from "./basics";
import { Chart, type Line } from "./Chart";

export interface Plot {
  readonly title: string;
  readonly unit: Unit;
  readonly what: string;
  /** Leaves out what stood still all the time. */
  readonly busyOnly?: boolean;
  /** Draws the exemplars of what is asked, which are single measurements in the same unit. */
  readonly exemplars?: boolean;
  readonly lines: (window: string) => readonly { readonly query: string; readonly name: (series: Series) => string }[];
}

/** Without lines that have nothing to draw; of the rest, where there are such, those that left zero. */
export function shownLines(lines: readonly Line[], busyOnly: boolean): readonly Line[] {
  const drawn = lines.filter(({ points }) => points.some(([, value]) => Number.isFinite(value)));
  const busy = drawn.filter(({ points }) => points.some(([, value]) => value > 0));
  return busyOnly && busy.length > 0 ? busy : drawn;
}

export function PlotPanel({ plot, range }: { plot: Plot; range: RangeName }) {
  const { data, error, reload } = useResource(
    async (signal) => {
      const span = rangeEnding(range, Date.now());
      const step = Math.max(5, stepFor(span, 180));
      const asked = plot.lines(rateWindow(step));
      const found = plot.exemplars ? await Promise.all(asked.map(({ query }) => exemplars(query, span, signal))) : [];
      const answers = await Promise.all(
        asked.map(async ({ query, name }) => {
          const series = await queryRange(query, span, signal, step);
          return series.map((one) => ({ name: name(one), points: one.points }));
        }),
      );
      const named = new Map<string, Line>();
      for (const line of answers.flat()) if (!named.has(line.name)) named.set(line.name, line);
      return { lines: shownLines([...named.values()], plot.busyOnly === true), span: span satisfies Range, found: found.flat() };
    },
    [plot.title, range, plot.lines("").map((line) => line.query)],
    { everyMs: 10_000 },
  );
  return (
    <Panel title={plot.title}>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="the chart" />}
      {data?.lines.length === 0 && (
        <Empty icon="explore" title="Nothing recorded in this range">
          {plot.what}
        </Empty>
      )}
      {data && data.lines.length > 0 && (
        <Chart
          label={plot.title}
          lines={data.lines}
          range={data.span}
          group="plots"
          unit={plot.unit}
          height={170}
          fill={plot.unit === "rate"}
          dots={exemplarDots(data.found, plot.unit)}
        />
      )}
      {data && data.found.length > 0 && <ExemplarLinks found={data.found} unit={plot.unit} />}
    </Panel>
  );
}
