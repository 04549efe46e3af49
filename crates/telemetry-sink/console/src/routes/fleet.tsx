// Fleet overview: the five with live figures, their totals, and what the business did lately.

import { useFleet, MEMBERS, type Freshness, type LiveFleet, type Member } from "../api/fleet";
import type { Series } from "../api/prometheus";
import { Badge, Failure, Loading, Page, ServiceTag, Stat, type Tone } from "../components/basics";
import { PlotPanel, type Plot } from "../components/PlotPanel";
import { RangePicker } from "../components/RangePicker";
import { Sparkline } from "../components/Sparkline";
import { age, bytes, figure, MISSING, inUnit, latency } from "../format";
import { href } from "../lib/routes";
import { rangeName, type RangeName } from "../lib/time-range";
import { serviceTone } from "../lib/tone";
import { useQuery } from "../router";

export function FleetScreen() {
  const live = useFleet();
  const [query, setQuery] = useQuery();
  const range = rangeName(query.get("range"), "15m");
  return (
    <Page
      title="Fleet"
      tools={
        <>
          <FreshnessBadge freshness={live.freshness} />
          <RangePicker value={range} onChange={(name) => setQuery({ range: name })} />
        </>
      }
    >
      {live.error && !live.fleet && <Failure error={live.error} />}
      {!live.fleet && !live.error && <Loading what="the fleet" />}
      {live.fleet && <Totals live={live} />}
      {live.fleet && <Cards live={live} />}
      <Charts range={range} />
    </Page>
  );
}

const FRESHNESS: Readonly<Record<Freshness, readonly [Tone, string]>> = {
  connecting: ["idle", "Connecting"],
  live: ["good", "Live"],
  polling: ["warn", "Polling"],
  stale: ["bad", "Not updating"],
};

function FreshnessBadge({ freshness }: { freshness: Freshness }) {
  const [tone, text] = FRESHNESS[freshness];
  return (
    <span role="status">
      <Badge tone={tone}>{text}</Badge>
    </span>
  );
}

function sum(members: readonly Member[], pick: (member: Member) => number | null): number | null {
  const known = members.map(pick).filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
}

function Totals({ live }: { live: LiveFleet }) {
  const members = live.fleet?.members ?? [];
  const ready = members.filter((member) => member.ready).length;
  const gateway = members.find((member) => member.name === "edge-gateway");
  const errors = gateway?.errorsPerSecond ?? null;
  const expected = Math.max(MEMBERS.length, members.length);
  return (
    <dl class="stats">
      <Stat label="Ready" value={`${ready} of ${expected}`} tone={ready === expected ? "good" : "bad"} />
      <Stat label="Requests at the edge" value={inUnit(gateway?.requestsPerSecond, "rate")} />
      <Stat
        label="Errors at the edge"
        value={inUnit(errors, "rate")}
        tone={errors !== null && errors > 0 ? "bad" : undefined}
      />
      <Stat label="Edge p99" value={latency(gateway?.p99Us)} />
      <Stat label="Memory of all" value={bytes(sum(members, (member) => member.rssBytes))} />
      <Stat label="CPU of all, of one core" value={cpu(sum(members, (member) => member.cpuCores))} />
    </dl>
  );
}

/** Of one core: 250% is two and a half. */
function cpu(cores: number | null): string {
  return cores === null ? MISSING : `${figure(Math.round(cores * 1000) / 10)}%`;
}

function Cards({ live }: { live: LiveFleet }) {
  return (
    <ul class="cards" aria-label="Services">
      {(live.fleet?.members ?? []).map((member) => (
        <li key={member.name}>
          <MemberCard member={member} />
        </li>
      ))}
    </ul>
  );
}

function MemberCard({ member }: { member: Member }) {
  const errors = member.errorsPerSecond ?? 0;
  return (
    <article
      class={`card ${member.ready ? "" : "unready"}`}
      data-service={member.name}
      data-ready={String(member.ready)}
    >
      <header>
        <h2>
          <ServiceTag name={member.name} />
        </h2>
        <Badge tone={member.ready ? "good" : "bad"}>{member.ready ? "Ready" : "Not ready"}</Badge>
      </header>
      {!member.ready && (
        <p class="card-reason">{member.reason || "No answer on its admin listener; look at its logs below."}</p>
      )}
      <div class="card-rate">
        <b data-figure="requests">{inUnit(member.requestsPerSecond, "rate")}</b>
        <span class={errors > 0 ? "bad" : "muted"}>{inUnit(member.errorsPerSecond, "rate")} errors</span>
      </div>
      <Sparkline values={member.spark} tone={serviceTone(member.name)} />
      <dl class="card-figures">
        <Figure name="p50" value={latency(member.p50Us)} />
        <Figure name="p99" value={latency(member.p99Us)} />
        <Figure name="CPU" value={cpu(member.cpuCores)} />
        <Figure name="RSS" value={bytes(member.rssBytes)} />
        <Figure name="Up" value={age(member.uptimeSeconds)} />
        <Figure name="Build" value={member.version || MISSING} />
      </dl>
      <footer>
        <a href={href("/traces", { service: member.name })}>Traces</a>
        <a href={href("/logs", { service: member.name })}>Logs</a>
      </footer>
    </article>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd data-figure={name.toLowerCase()}>{value}</dd>
    </div>
  );
}

const ofService = (series: Series): string => series.labels["job"] ?? "all";

/** The gateway counts what it proxies under names of its own. */
const PLOTS: readonly Plot[] = [
  {
    title: "Orders and jobs",
    unit: "rate",
    what: "Place an order in the shop and it shows here within half a minute.",
    lines: (window) => [
      { query: `sum(rate(quintet_orders_placed_total[${window}]))`, name: () => "orders placed" },
      { query: `sum(rate(quintet_jobs_finished_total[${window}]))`, name: () => "jobs finished" },
    ],
  },
  {
    title: "Requests by service",
    unit: "rate",
    what: "Requests appear once the first scrapes are in.",
    lines: (window) =>
      ["quintet_gateway_requests_total", "http_server_requests_total"].map((metric) => ({
        query: `sum by (job) (rate(${metric}[${window}]))`,
        name: ofService,
      })),
  },
  {
    title: "p99 latency by service",
    unit: "seconds",
    what: "Latencies appear once requests were answered.",
    exemplars: true,
    lines: (window) =>
      ["quintet_gateway_request_duration_seconds", "http_server_request_duration_seconds"].map((metric) => ({
        query: `histogram_quantile(0.99, sum by (job, le) (rate(${metric}_bucket[${window}])))`,
        name: ofService,
      })),
  },
  {
    title: "Memory by service",
    unit: "bytes",
    what: "Memory appears once the first scrapes are in.",
    lines: () => [{ query: "sum by (job) (process_resident_memory_bytes)", name: ofService }],
  },
];

function Charts({ range }: { range: RangeName }) {
  return (
    <div class="grid-2">
      {PLOTS.map((plot) => (
        <PlotPanel key={plot.title} plot={plot} range={range} />
      ))}
    </div>
  );
}
