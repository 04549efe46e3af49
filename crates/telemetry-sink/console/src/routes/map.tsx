// The service map: who calls whom, how often, how many of the calls fail and how long they take. The table below
// has the same figures.

import { useMemo, useState } from "preact/hooks";
import { serviceGraph, type ServiceEdge, type ServiceGraph, type ServiceNode } from "../api/jaeger";
import { Empty, Failure, Loading, Page, Panel, ServiceTag } from "../components/basics";
import { PeriodPicker } from "../components/PeriodPicker";
import { figure, latency, percent, seldom } from "../format";
import { useResource } from "../hooks";
import { href } from "../lib/routes";
import { layOutMap, NODE, type Drawn } from "../lib/service-map";
import { periodQuery, rangeOf, readPeriod, type Period, type Range } from "../lib/time-range";
import { serviceTone } from "../lib/tone";
import { useQuery } from "../router";

const REFRESH_MS = 15_000;

export function MapScreen() {
  const [query, setQuery] = useQuery();
  const period = readPeriod(query, "1h");
  const { data, error, loading, reload } = useResource(
    async (signal) => {
      const range = rangeOf(period, Date.now());
      return { range, graph: await serviceGraph(range, signal) };
    },
    [period],
    { everyMs: period.fixed ? undefined : REFRESH_MS },
  );
  return (
    <Page title="Service map" tools={<PeriodPicker period={period} setQuery={setQuery} />}>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && loading && <Loading what="the service map" />}
      {data?.graph === null && (
        <Empty icon="map" title="This telemetry sink draws no service map">
          It answers 404 to <code>/telemetry/v1/service-graph</code>; a newer one tells who calls whom.{" "}
          <a href="/traces">Traces</a> show single requests.
        </Empty>
      )}
      {data?.graph && data.graph.nodes.length === 0 && (
        <Empty icon="map" title="No spans in this range">
          Services appear here once they send spans. Widen the time range, or make a request.
        </Empty>
      )}
      {data?.graph && data.graph.nodes.length > 0 && <MapView graph={data.graph} range={data.range} period={period} />}
    </Page>
  );
}

interface ViewProps {
  readonly graph: ServiceGraph;
  readonly range: Range;
  readonly period: Period;
}

function MapView({ graph, range, period }: ViewProps) {
  const [near, setNear] = useState<string | null>(null);
  const layout = useMemo(() => layOutMap(graph), [graph]);
  const seconds = Math.max(1, (range.endMs - range.startMs) / 1000);
  const most = Math.max(1, ...graph.edges.map(({ calls }) => calls));
  const about = new Map(graph.nodes.map((node) => [node.service, node]));
  const lit = (edge: ServiceEdge): boolean => near === null || edge.client === near || edge.server === near;
  const neighbours = new Set(graph.edges.filter(lit).flatMap(({ client, server }) => [client, server]));
  return (
    <>
      {graph.truncated && (
        <p class="read-only" role="status">
          Only the newest spans of this range are counted, because there are more than one answer counts: rates are lower
          than they were, and rare calls may be missing. A shorter range is counted whole.
        </p>
      )}
      <Panel title="Calls" note="calls, failed calls, 95th percentile" flush>
        <div class="map-scroll" tabIndex={0} role="group" aria-label="Service map; the table below has the same figures">
          <div class="map" style={{ width: `${layout.width}px`, height: `${layout.height}px` }}>
            <svg width={layout.width} height={layout.height} aria-hidden="true" focusable="false">
              <defs>
                {(["", "failing"] as const).map((kind) => (
                  <marker key={kind} id={`arrow${kind}`} viewBox="0 0 8 8" refX="2" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
                    <path class={`map-arrow ${kind}`} d="M0 0L8 4L0 8z" />
                  </marker>
                ))}
              </defs>
              {layout.edges.map(({ edge, path }) => (
                <path
                  key={`${edge.client} ${edge.server}`}
                  class={`map-edge ${failing(edge) ? "failing" : ""} ${lit(edge) ? "" : "dim"}`}
                  d={path}
                  style={{ strokeWidth: `${1.2 + (Math.log1p(edge.calls) / Math.log1p(most)) * 2.8}px` }}
                  marker-end={`url(#arrow${failing(edge) ? "failing" : ""})`}
                />
              ))}
            </svg>
            {layout.edges.map((drawn) => (
              <EdgeLabel key={`${drawn.edge.client} ${drawn.edge.server}`} drawn={drawn} seconds={seconds} dim={!lit(drawn.edge)} />
            ))}
            <ul>
              {layout.nodes.map(({ service, x, y }) => (
                <li
                  key={service}
                  class={near !== null && !neighbours.has(service) ? "dim" : ""}
                  style={{ left: `${x - NODE.width / 2}px`, top: `${y - NODE.height / 2}px` }}
                >
                  <NodeCard node={about.get(service)} service={service} seconds={seconds} period={period} choose={setNear} />
                </li>
              ))}
            </ul>
          </div>
        </div>
      </Panel>
      <EdgeTable graph={graph} seconds={seconds} period={period} />
    </>
  );
}

/** One in a hundred is where people begin to notice. */
const FAILING = 0.01;

function failing({ calls, errors }: { calls: number; errors: number }): boolean {
  return calls > 0 && errors / calls >= FAILING;
}

/** One digit after the point is what a map has room for. */
function share(errors: number, calls: number): string {
  return percent(Math.round((errors / Math.max(1, calls)) * 1000) / 1000);
}

function millis(ms: number | null): string {
  return latency(ms === null ? null : ms * 1000);
}

function EdgeLabel({ drawn, seconds, dim }: { drawn: Drawn; seconds: number; dim: boolean }) {
  const { edge, labelX, labelY } = drawn;
  return (
    <p class={`map-label ${drawn.before ? "before" : ""} ${dim ? "dim" : ""}`} style={{ left: `${labelX}px`, top: `${labelY}px` }} aria-hidden="true">
      <b>{seldom(edge.calls / seconds)}</b>
      {edge.errors > 0 && <span class="bad">{share(edge.errors, edge.calls)}</span>}
      <span>{millis(edge.p95Ms)}</span>
    </p>
  );
}

interface CardProps {
  readonly node: ServiceNode | undefined;
  readonly service: string;
  readonly seconds: number;
  readonly period: Period;
  readonly choose: (service: string | null) => void;
}

function NodeCard({ node, service, seconds, period, choose }: CardProps) {
  const bad = node !== undefined && failing({ calls: node.requests, errors: node.errors });
  return (
    <a
      class={`map-node tone-${serviceTone(service)} ${bad ? "failing" : ""}`}
      href={href("/traces", { service, ...periodQuery(period) })}
      onFocus={() => choose(service)}
      onBlur={() => choose(null)}
      onMouseEnter={() => choose(service)}
      onMouseLeave={() => choose(null)}
    >
      <ServiceTag name={service} />
      {node && (
        <span class="map-figures">
          <b>{seldom(node.requests / seconds)}</b>
          <span class={bad ? "bad" : ""}>{share(node.errors, node.requests)} failed</span>
          <span title="95th percentile">{millis(node.p95Ms)}</span>
        </span>
      )}
    </a>
  );
}

function EdgeTable({ graph, seconds, period }: { graph: ServiceGraph; seconds: number; period: Period }) {
  const edges = [...graph.edges].sort((left, right) => right.calls - left.calls);
  return (
    <Panel title="Who calls whom" note={`${graph.nodes.length} services, ${edges.length} connections`} flush>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Who calls whom, the busiest first">
        <table class="table rows">
          <thead>
            <tr>
              <th scope="col">Caller</th>
              <th scope="col">Called</th>
              <th scope="col" class="num">
                Calls
              </th>
              <th scope="col" class="num">
                Rate
              </th>
              <th scope="col" class="num">
                Failed
              </th>
              <th scope="col" class="num">
                p50
              </th>
              <th scope="col" class="num">
                p95
              </th>
              <th scope="col">Look at</th>
            </tr>
          </thead>
          <tbody>
            {edges.map((edge) => (
              <tr key={`${edge.client} ${edge.server}`}>
                <th scope="row">
                  <ServiceTag name={edge.client} />
                </th>
                <td>
                  <ServiceTag name={edge.server} />
                </td>
                <td class="num">{figure(edge.calls)}</td>
                <td class="num">{seldom(edge.calls / seconds)}</td>
                <td class={`num ${failing(edge) ? "bad" : ""}`}>{percent(edge.errors / Math.max(1, edge.calls))}</td>
                <td class="num">{millis(edge.p50Ms)}</td>
                <td class="num">{millis(edge.p95Ms)}</td>
                <td>
                  <a href={href("/traces", { service: edge.server, ...periodQuery(period) })}>traces</a>{" · "}
                  <a href={href("/logs", { service: edge.server, ...periodQuery(period) })}>logs</a>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
