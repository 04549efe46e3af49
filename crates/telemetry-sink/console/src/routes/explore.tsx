// Metrics explorer: up to four PromQL expressions, their chart, their figures, what they cost, and the traces
// behind single samples.

import { useEffect, useState } from "preact/hooks";
import { ask, askRange, exemplars, type Answer, type Exemplar } from "../api/prometheus";
import { Empty, Failure, Loading, Page, Panel, TraceLink } from "../components/basics";
import { Chart } from "../components/Chart";
import { exemplarDots, largestFirst } from "../components/Exemplars";
import { Icon } from "../components/Icon";
import { PeriodPicker } from "../components/PeriodPicker";
import { PromqlBox } from "../components/PromqlBox";
import { ResultTable } from "../components/ResultTable";
import { clockTime, count, figure, inUnit, latency, unitOf, type Unit } from "../format";
import { useResource } from "../hooks";
import type { Line } from "../lib/chart-data";
import { legendNames } from "../lib/promql";
import { hintFor } from "../lib/promql-docs";
import { parseDuration, periodQuery, rangeOf, rateWindow, readPeriod, stepFor, type Range } from "../lib/time-range";
import { useQuery } from "../router";

type SetQuery = (change: Readonly<Record<string, string>>) => void;

const EXAMPLES: readonly (readonly [string, string])[] = [
  ["Requests by service", "sum by (job) (rate(http_server_requests_total[1m]))"],
  ["Server errors by service", 'sum by (job) (rate(http_server_requests_total{status=~"5.."}[1m]))'],
  ["p99 latency", "histogram_quantile(0.99, sum by (job, le) (rate(http_server_request_duration_seconds_bucket[1m])))"],
  ["Memory", "process_resident_memory_bytes"],
  ["CPU", "rate(process_cpu_seconds_total[1m])"],
];

const REFRESH_MS = 10_000;
const MOST_SERIES = 200;
/** Address keys of the expressions, in order; their letters in the legend. */
const KEYS = ["q", "q2", "q3", "q4"] as const;
const LETTERS = ["A", "B", "C", "D"];
const STEPS = ["5s", "15s", "1m", "5m", "15m", "1h"];
const WEEK_MS = 7 * 86_400_000;
/** As many points as one series may have in one answer. */
const MOST_POINTS = 11_000;

export function ExploreScreen() {
  const [query, setQuery] = useQuery();
  const period = readPeriod(query, "1h");
  const expressions = KEYS.map((key) => query.get(key) ?? "");
  const asked = expressions.some((expression) => expression !== "");
  const zoom = (fixed: Range): void => setQuery(periodQuery({ fixed }));
  return (
    <Page title="Metrics" tools={<PeriodPicker period={period} setQuery={setQuery} />}>
      <QueryForm expressions={expressions} setQuery={setQuery} />
      {asked ? (
        <Results query={query} expressions={expressions} setQuery={setQuery} zoom={zoom} />
      ) : (
        <Empty icon="explore" title="Ask a question in PromQL">
          Start typing a metric name, or take one of the examples above. <a href="/storage">What is stored</a> lists the
          names with the most series.
        </Empty>
      )}
    </Page>
  );
}

function QueryForm({ expressions, setQuery }: { expressions: readonly string[]; setQuery: SetQuery }) {
  const used = Math.max(1, expressions.findLastIndex((expression) => expression !== "") + 1);
  const [rows, setRows] = useState(used);
  const [drafts, setDrafts] = useState<readonly string[]>(expressions);
  const address = expressions.join("\u0000");
  useEffect(() => {
    setDrafts(expressions);
    setRows((before) => Math.max(before, used));
  }, [address]);
  const edit = (at: number, text: string): void => setDrafts(drafts.with(at, text));
  const run = (texts: readonly string[]): void => {
    setDrafts(texts);
    setQuery(Object.fromEntries(KEYS.map((key, at) => [key, texts[at]?.trim() ?? ""])));
  };
  const remove = (at: number): void => {
    const left = [...drafts.toSpliced(at, 1), ""];
    setRows(Math.max(1, rows - 1));
    run(left);
  };
  const step = rateWindow(15);
  return (
    <form
      class="explore-form"
      onSubmit={(event) => {
        event.preventDefault();
        run(drafts);
      }}
    >
      {KEYS.slice(0, rows).map((key, at) => {
        const hint = hintFor(expressions[at] ?? "", step);
        return (
          <div key={key} class="explore-row">
            {rows > 1 && (
              <b class="explore-letter" aria-hidden="true">
                {LETTERS[at]}
              </b>
            )}
            <PromqlBox
              name={key}
              label={at === 0 ? "PromQL expression" : `PromQL expression ${LETTERS[at]}`}
              value={drafts[at] ?? ""}
              onChange={(text) => edit(at, text)}
              onRun={(text) => run(drafts.with(at, text))}
            />
            {rows > 1 && (
              <button type="button" class="button" aria-label={`Remove expression ${LETTERS[at]}`} onClick={() => remove(at)}>
                <Icon name="close" size={14} />
              </button>
            )}
            {at === 0 && (
              <button type="submit" class="button primary">
                Run
              </button>
            )}
            {at === 0 && rows < KEYS.length && (
              <button type="button" class="button" title="Another expression in the same chart" onClick={() => setRows(rows + 1)}>
                <Icon name="plus" size={14} /> Add
              </button>
            )}
            {hint && (
              <p class="explore-hint">
                <Icon name="alert" size={14} /> {hint.text}{" "}
                <button type="button" class="chip" onClick={() => run(drafts.with(at, hint.expression))}>
                  {hint.expression}
                </button>
              </p>
            )}
          </div>
        );
      })}
      <div class="chips" role="group" aria-label="Example queries">
        {EXAMPLES.map(([name, example]) => (
          <button
            key={name}
            type="button"
            class="chip"
            aria-pressed={expressions[0] === example}
            onClick={() => run([example, ...drafts.slice(1)])}
          >
            {name}
          </button>
        ))}
      </div>
    </form>
  );
}

interface Shown {
  readonly answers: readonly (Answer & { readonly letter: string; readonly expression: string; readonly before: boolean })[];
  readonly exemplars: readonly Exemplar[];
  readonly range: Range;
  readonly step: number;
  readonly tookMs: number;
}

async function load(
  expressions: readonly string[],
  range: Range,
  step: number,
  compare: boolean,
  signal: AbortSignal,
): Promise<Shown> {
  const began = performance.now();
  const week: Range = { startMs: range.startMs - WEEK_MS, endMs: range.endMs - WEEK_MS };
  const wanted = expressions.flatMap((expression, at) => {
    if (expression === "") return [];
    const one = { expression, letter: LETTERS[at] ?? "", before: false };
    return compare ? [one, { ...one, before: true }] : [one];
  });
  const [answers, found] = await Promise.all([
    Promise.all(
      wanted.map(async (one) => ({ ...one, ...(await askRange(one.expression, one.before ? week : range, step, signal)) })),
    ),
    Promise.all(expressions.filter((text) => text !== "").map((text) => exemplars(text, range, signal))),
  ]);
  return { answers, exemplars: found.flat(), range, step, tookMs: performance.now() - began };
}

/** The lines of a chart; with several expressions each name says whose it is. */
function linesOf({ answers }: Shown): Line[] {
  const letters = new Set(answers.map(({ letter }) => letter));
  return answers.flatMap(({ series, letter, expression, before }) => {
    const names = legendNames(series.map(({ labels }) => labels));
    return series.slice(0, MOST_SERIES).map((one, at): Line => {
      const own = names[at] === "{}" || !names[at] ? expression : names[at];
      const name = `${letters.size > 1 ? `${letter} · ` : ""}${own}${before ? " · week before" : ""}`;
      const points = before ? one.points.map(([time, value]) => [time + WEEK_MS / 1000, value] as const) : one.points;
      return { name, points, dashed: before };
    });
  });
}

interface ResultsProps {
  readonly query: URLSearchParams;
  readonly expressions: readonly string[];
  readonly setQuery: SetQuery;
  readonly zoom: (range: Range) => void;
}

function Results({ query, expressions, setQuery, zoom }: ResultsProps) {
  const period = readPeriod(query, "1h");
  const wanted = parseDuration(query.get("step") ?? "");
  const compare = query.get("compare") === "week";
  const stacked = query.get("stack") === "1";
  const table = query.get("view") === "table";
  const { data, error, loading, reload } = useResource(
    (signal) => {
      const range = rangeOf(period, Date.now());
      const least = (range.endMs - range.startMs) / 1000 / MOST_POINTS;
      return load(expressions, range, Math.max(Math.ceil(least), wanted ?? stepFor(range)), compare, signal);
    },
    [expressions, period, wanted, compare],
    { everyMs: period.fixed ? undefined : REFRESH_MS },
  );
  const lines = data ? linesOf(data) : [];
  const unit = unitOf(expressions.find((expression) => expression !== "") ?? "");
  const total = data?.answers.reduce((sum, { series }) => sum + series.length, 0) ?? 0;
  return (
    <>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && loading && <Loading what="the result" />}
      {data && <Notes shown={data} />}
      {data && (
        <Panel title="Result" note={<ViewTools query={query} setQuery={setQuery} />}>
          {lines.length === 0 && (
            <Empty icon="explore" title="No series match">
              The expression is valid, but nothing was recorded under it in this range.
            </Empty>
          )}
          {lines.length > 0 && table && <Instants expressions={expressions} endMs={rangeOf(period, Date.now()).endMs} />}
          {lines.length > 0 && !table && (
            <Chart
              label={expressions.filter((text) => text !== "").join(" and ")}
              lines={lines}
              unit={unit}
              height={340}
              legend="full"
              stacked={stacked}
              dots={exemplarDots(data.exemplars, unit)}
              range={data.range}
              onZoom={zoom}
            />
          )}
          <Cost shown={data} total={total} />
        </Panel>
      )}
      {data && data.exemplars.length > 0 && <Exemplars found={data.exemplars} unit={unit} />}
    </>
  );
}

function Notes({ shown }: { shown: Shown }) {
  const notes = [...new Set(shown.answers.flatMap((answer) => answer.notes))];
  if (notes.length === 0) return null;
  return (
    <ul class="query-notes" aria-label="What the server says about the query">
      {notes.map((note) => (
        <li key={note}>
          <Icon name="alert" size={14} /> {note}
        </li>
      ))}
    </ul>
  );
}

function ViewTools({ query, setQuery }: { query: URLSearchParams; setQuery: SetQuery }) {
  const view = query.get("view") === "table" ? "table" : "graph";
  const check = (key: string, value: string, label: string) => (
    <label class="check">
      <input
        type="checkbox"
        checked={query.get(key) === value}
        onChange={(event) => setQuery({ [key]: event.currentTarget.checked ? value : "" })}
      />
      {label}
    </label>
  );
  return (
    <div class="view-tools">
      {view === "graph" && check("stack", "1", "Stacked")}
      {view === "graph" && check("compare", "week", "Week before")}
      <label class="check">
        Step
        <select value={query.get("step") ?? ""} onChange={(event) => setQuery({ step: event.currentTarget.value })}>
          <option value="">Auto</option>
          {STEPS.map((step) => (
            <option key={step}>{step}</option>
          ))}
        </select>
      </label>
      <fieldset class="segments">
        <legend class="hidden-label">View</legend>
        {(["graph", "table"] as const).map((name) => (
          <label key={name} class={view === name ? "on" : ""}>
            <input
              type="radio"
              name="view"
              checked={view === name}
              onChange={() => setQuery({ view: name === "graph" ? "" : name })}
            />
            {name === "graph" ? "Graph" : "Table"}
          </label>
        ))}
      </fieldset>
    </div>
  );
}

/** What the query cost: the server's own figures where it gives them. */
function Cost({ shown, total }: { shown: Shown; total: number }) {
  const points = shown.answers.reduce(
    (sum, { series }) => sum + series.reduce((inner, one) => inner + one.points.length, 0),
    0,
  );
  const sum = (pick: (answer: Answer) => number | null): number | null => {
    const known = shown.answers.map(pick).filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((left, right) => left + right, 0);
  };
  const [samples, seconds] = [sum(({ stats }) => stats.samples), sum(({ stats }) => stats.seconds)];
  return (
    <p class="query-cost muted">
      <span>{count(total)} series</span>
      <span>{count(points)} points</span>
      <span>step {figure(shown.step)} s</span>
      {samples !== null && <span>{count(samples)} samples read</span>}
      {seconds !== null && <span>{latency(seconds * 1e6)} on the server</span>}
      <span>{figure(Math.round(shown.tookMs))} ms in all</span>
      {total > MOST_SERIES && <span>the first {MOST_SERIES} of each are drawn</span>}
    </p>
  );
}

function Instants({ expressions, endMs }: { expressions: readonly string[]; endMs: number }) {
  const { data, error, reload } = useResource(
    async (signal) => {
      const wanted = expressions.flatMap((expression, at) => (expression ? [{ expression, letter: LETTERS[at] ?? "" }] : []));
      return Promise.all(wanted.map(async (one) => ({ ...one, ...(await ask(one.expression, endMs, signal)) })));
    },
    [expressions, Math.floor(endMs / REFRESH_MS)],
  );
  if (error) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="the table" />;
  return (
    <>
      {data.map(({ letter, expression, series }) => (
        <ResultTable key={letter} caption={expression} series={series} unit={unitOf(expression)} />
      ))}
    </>
  );
}

const LISTED = 10;

function Exemplars({ found, unit }: { found: readonly Exemplar[]; unit: Unit }) {
  const largest = largestFirst(found).slice(0, LISTED);
  return (
    <Panel title="Traces behind the samples" note={`${found.length} exemplars, the largest first`} flush>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Exemplars, the largest first">
        <table class="table">
          <thead>
            <tr>
              <th scope="col" class="num">
                Value
              </th>
              <th scope="col">At</th>
              <th scope="col">Trace</th>
              <th scope="col">Series</th>
            </tr>
          </thead>
          <tbody>
            {largest.map((one, at) => (
              <tr key={at}>
                <td class="num">{inUnit(one.value, unit)}</td>
                <td>{clockTime(one.atSeconds * 1000)}</td>
                <td>
                  <TraceLink id={one.traceId} />
                </td>
                <td class="mono muted">
                  {Object.entries(one.labels)
                    .filter(([key]) => key !== "__name__" && key !== "le")
                    .map(([key, value]) => `${key}=${value}`)
                    .join(" ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
