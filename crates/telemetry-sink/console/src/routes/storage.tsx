// What the store holds: how many series under which names, and what each signal costs on disk and in memory.

import { query, storeStatus, type Ranked, type Series } from "../api/prometheus";
import { Empty, Failure, Loading, Page, Panel, Stat } from "../components/basics";
import { bytes, count, inUnit, MISSING } from "../format";
import { useResource } from "../hooks";
import { quote } from "../lib/logql";
import { href } from "../lib/routes";

const REFRESH_MS = 30_000;
const LISTED = 20;

export function StorageScreen() {
  const { data, error, reload } = useResource((signal) => storeStatus(LISTED, signal), [], { everyMs: REFRESH_MS });
  return (
    <Page title="Storage" lead="Which names fill the store, and what each signal costs">
      {error && !data && <Failure error={error} retry={reload} />}
      {data === undefined && !error && <Loading what="what is stored" />}
      {data && (
        <dl class="stats">
          <Stat label="Series" value={count(data.series)} />
          <Stat label="Label pairs" value={count(data.labelPairs)} />
          <Stat label="Chunks" value={count(data.chunks)} />
        </dl>
      )}
      <Signals />
      {data === null && (
        <Empty icon="disk" title="This telemetry sink does not tell its cardinality">
          It answers 404 to <code>/status/tsdb</code>; a newer one lists its largest names here.
        </Empty>
      )}
      {data && (
        <div class="grid-2">
          <Ranking title="Metrics with the most series" rows={data.metrics} unit={count} link={metricLink} />
          <Ranking title="Labels with the most values" rows={data.labels} unit={count} link={labelLink} />
          <Ranking title="Label pairs with the most series" rows={data.pairs} unit={count} link={pairLink} />
          <Ranking title="Labels by memory" rows={data.labelBytes} unit={bytes} link={labelLink} />
        </div>
      )}
    </Page>
  );
}

const metricLink = (name: string): string => href("/explore", { q: `count by (job) ({__name__=${quote(name)}})` });
const labelLink = (name: string): string =>
  href("/explore", { q: `topk(20, count by (${name}) ({${name}!=""}))`, view: "table" });

function pairLink(pair: string): string {
  const at = pair.indexOf("=");
  const selector = `{${pair.slice(0, at)}=${quote(pair.slice(at + 1))}}`;
  return href("/explore", { q: `topk(20, count by (__name__) (${selector}))`, view: "table" });
}

interface RankingProps {
  readonly title: string;
  readonly rows: readonly Ranked[];
  readonly unit: (value: number) => string;
  readonly link: (name: string) => string;
}

function Ranking({ title, rows, unit, link }: RankingProps) {
  const most = Math.max(1, ...rows.map(({ value }) => value));
  if (rows.length === 0) return null;
  return (
    <Panel title={title} flush>
      <table class="table rows ranking">
        <tbody>
          {rows.map(({ name, value }) => (
            <tr key={name}>
              <th scope="row">
                <a href={link(name)}>{name}</a>
              </th>
              <td class="num">
                <span class="meter" style={{ "--part": String(value / most) }}>
                  {unit(value)}
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

const SIGNALS = ["logs", "metrics", "spans"] as const;
type Signal = (typeof SIGNALS)[number];

interface Costs {
  readonly disk: ReadonlyMap<string, number>;
  readonly head: ReadonlyMap<string, number>;
  readonly rate: ReadonlyMap<string, number>;
}

function bySignal(series: readonly Series[]): ReadonlyMap<string, number> {
  return new Map(series.map(({ labels, points }) => [labels["signal"] ?? "", points.at(-1)?.[1] ?? NaN]));
}

/** Disk is everything the sink keeps there: its log of what came in, and its parts. */
async function costs(signal: AbortSignal): Promise<Costs> {
  const now = Date.now();
  const ask = (expression: string): Promise<readonly Series[]> => query(expression, now, signal);
  const [disk, head, rate] = await Promise.all([
    ask('sum by (signal) ({__name__=~"quintet_sink_(wal|part)_bytes"})'),
    ask("sum by (signal) (quintet_sink_head_bytes)"),
    ask("sum by (signal) (rate(quintet_sink_ingested_items_total[5m]))"),
  ]);
  return { disk: bySignal(disk), head: bySignal(head), rate: bySignal(rate) };
}

const ITEMS: Readonly<Record<Signal, string>> = { logs: "lines", metrics: "samples", spans: "spans" };
const PLOTS: Readonly<Record<Signal, string>> = {
  logs: 'sum by (signal) ({__name__=~"quintet_sink_(wal|part)_bytes", signal="logs"})',
  metrics: 'sum by (signal) ({__name__=~"quintet_sink_(wal|part)_bytes", signal="metrics"})',
  spans: 'sum by (signal) ({__name__=~"quintet_sink_(wal|part)_bytes", signal="spans"})',
};

function Signals() {
  const { data, error, reload } = useResource(costs, [], { everyMs: REFRESH_MS });
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="what each signal costs" />;
  return (
    <Panel title="Cost of each signal" flush>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Cost of each signal">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Signal</th>
              <th scope="col" class="num">
                On disk
              </th>
              <th scope="col" class="num">
                In memory
              </th>
              <th scope="col" class="num">
                Coming in
              </th>
            </tr>
          </thead>
          <tbody>
            {SIGNALS.map((signal) => (
              <tr key={signal} data-signal={signal}>
                <th scope="row">
                  <a href={href("/explore", { q: PLOTS[signal] })}>{signal}</a>
                </th>
                <td class="num">{bytes(data.disk.get(signal))}</td>
                <td class="num">{bytes(data.head.get(signal))}</td>
                <td class="num">
                  {data.rate.has(signal) ? `${inUnit(data.rate.get(signal), "rate").replace("/s", "")} ${ITEMS[signal]}/s` : MISSING}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
