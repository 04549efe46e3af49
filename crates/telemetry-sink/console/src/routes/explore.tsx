// Metrics explorer: a PromQL box with completion, a chart and the figures behind it.

import { useState } from "preact/hooks";
import { queryRange } from "../api/prometheus";
import { Empty, Failure, Loading, Page, Panel } from "../components/basics";
import { Chart } from "../components/Chart";
import { PromqlBox } from "../components/PromqlBox";
import { RangePicker } from "../components/RangePicker";
import { figure, unitOf } from "../format";
import { useResource } from "../hooks";
import { legendNames } from "../lib/promql";
import { rangeEnding, rangeName, stepFor } from "../lib/time-range";
import { useQuery } from "../router";

const EXAMPLES: readonly (readonly [string, string])[] = [
  ["Requests by service", "sum by (job) (rate(http_server_requests_total[1m]))"],
  ["Server errors by service", 'sum by (job) (rate(http_server_requests_total{status=~"5.."}[1m]))'],
  ["p99 latency", "histogram_quantile(0.99, sum by (job, le) (rate(http_server_request_duration_seconds_bucket[1m])))"],
  ["Memory", "process_resident_memory_bytes"],
  ["CPU", "rate(process_cpu_seconds_total[1m])"],
];

const REFRESH_MS = 10_000;
const MOST_SERIES = 200;

export function ExploreScreen() {
  const [query, setQuery] = useQuery();
  const expression = query.get("q") ?? "";
  const range = rangeName(query.get("range"), "1h");
  const [draft, setDraft] = useState(expression);
  const run = (text: string): void => {
    setDraft(text);
    setQuery({ q: text.trim() });
  };
  const { data, error, loading, reload } = useResource(
    async (signal) => {
      const span = rangeEnding(range, Date.now());
      const began = performance.now();
      const series = await queryRange(expression, span, signal);
      return { series, tookMs: performance.now() - began, step: stepFor(span) };
    },
    [expression, range],
    { enabled: expression !== "", everyMs: REFRESH_MS },
  );
  const names = data ? legendNames(data.series.map(({ labels }) => labels)) : [];
  const lines = (data?.series ?? [])
    .slice(0, MOST_SERIES)
    .map((series, at) => ({ name: names[at] || expression, points: series.points }));
  return (
    <Page title="Metrics" tools={<RangePicker value={range} onChange={(name) => setQuery({ range: name })} />}>
      <form
        class="explore-form"
        onSubmit={(event) => {
          event.preventDefault();
          run(draft);
        }}
      >
        <PromqlBox value={draft} onChange={setDraft} onRun={run} />
        <button type="submit" class="button primary">
          Run
        </button>
      </form>
      <div class="chips" role="group" aria-label="Example queries">
        {EXAMPLES.map(([name, example]) => (
          <button
            key={name}
            type="button"
            class="chip"
            aria-pressed={expression === example}
            onClick={() => run(example)}
          >
            {name}
          </button>
        ))}
      </div>
      {error && <Failure error={error} retry={reload} />}
      {expression === "" && (
        <Empty icon="explore" title="Ask a question in PromQL">
          Start typing a metric name, or take one of the examples above.
        </Empty>
      )}
      {expression !== "" && !data && !error && loading && <Loading what="the result" />}
      {data && lines.length === 0 && (
        <Empty icon="explore" title="No series match">
          The expression is valid, but nothing was recorded under it in this range.
        </Empty>
      )}
      {data && lines.length > 0 && (
        <Panel
          title="Result"
          note={`${data.series.length} series, step ${data.step} s, ${figure(Math.round(data.tookMs))} ms${
            data.series.length > MOST_SERIES ? `, first ${MOST_SERIES} drawn` : ""
          }`}
        >
          <Chart label={expression} lines={lines} unit={unitOf(expression)} height={320} legend="full" />
        </Panel>
      )}
    </Page>
  );
}
