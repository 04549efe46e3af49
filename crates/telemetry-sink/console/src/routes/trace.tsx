// One trace: its summary, the waterfall, and the log lines written under it.

import { trace as loadTrace, type Trace } from "../api/jaeger";
import { queryLogs } from "../api/loki";
import { Badge, Copy, Empty, Failure, Loading, Page, Panel, ServiceTag, Stat } from "../components/basics";
import { LogTable } from "../components/LogTable";
import { WaterfallView } from "../components/WaterfallView";
import { dateTime, latency, percent } from "../format";
import { useResource } from "../hooks";
import { logQuery } from "../lib/logql";
import { LEVEL_LABEL, SERVICE_LABEL } from "../lib/log-labels";
import { href } from "../lib/routes";
import { serviceTone } from "../lib/tone";
import { titleOf } from "../lib/trace-summary";
import { layOut } from "../lib/waterfall";

const LOG_LINES = 200;
/** While a trace is this young its jobs may still be running: keep asking. */
const YOUNG_MS = 120_000;

export function TraceScreen({ id }: { id: string }) {
  const first = useResource((signal) => loadTrace(id, signal), [id], { everyMs: 3000 });
  if (first.error && !first.data) {
    const missing = first.error.status === 404;
    return (
      <Page title="Trace">{missing ? <Missing id={id} /> : <Failure error={first.error} retry={first.reload} />}</Page>
    );
  }
  if (first.data === undefined) {
    return (
      <Page title="Trace">
        <Loading what="the trace" />
      </Page>
    );
  }
  return first.data === null || first.data.spans.length === 0 ? (
    <Page title="Trace">
      <Missing id={id} />
    </Page>
  ) : (
    <TraceView trace={first.data} />
  );
}

function Missing({ id }: { id: string }) {
  return (
    <Empty icon="traces" title="This trace is not here (yet)">
      Spans arrive a few seconds after the request. If <code>{id}</code> is older than the retention time, it is gone.{" "}
      <a href="/traces">Search traces</a>
    </Empty>
  );
}

function TraceView({ trace }: { trace: Trace }) {
  const waterfall = layOut(trace.spans);
  const root = waterfall.rows[0]?.span;
  const errors = trace.spans.filter((span) => span.error).length;
  const requestId = requestIdOf(trace);
  const startMs = waterfall.startUs / 1000;
  const critical = waterfall.rows.filter((row) => row.critical);
  return (
    <Page
      title={titleOf(trace.spans, root)}
      tools={
        <>
          {errors > 0 && <Badge tone="bad">{errors} failed</Badge>}
          <a class="button" href={href("/logs", { trace: trace.traceId })}>
            Logs of this trace
          </a>
        </>
      }
    >
      <div class="id-line">
        <span>
          Trace <code>{trace.traceId}</code> <Copy text={trace.traceId} label="trace id" />
        </span>
        {requestId && (
          <span>
            Request <code>{requestId}</code> <Copy text={requestId} label="request id" />
          </span>
        )}
      </div>
      <dl class="stats">
        <Stat label="Started" value={dateTime(startMs)} />
        <Stat label="From first to last" value={latency(waterfall.durationUs)} />
        <Stat label="Root span" value={latency(root?.durationUs)} />
        <Stat label="Spans" value={String(trace.spans.length)} sub={`${critical.length} on the critical path`} />
        <Stat label="Services" value={String(waterfall.services.length)} />
      </dl>
      <SelfTimes trace={trace} />
      <Panel title="Waterfall" flush>
        <WaterfallView waterfall={waterfall} traceId={trace.traceId} />
      </Panel>
      <TraceLogs traceId={trace.traceId} startMs={startMs} young={Date.now() - startMs < YOUNG_MS} />
    </Page>
  );
}

function requestIdOf(trace: Trace): string | null {
  for (const span of trace.spans) {
    const found = span.attributes.find(({ key }) => key === "request.id" || key === "request_id");
    if (found) return found.value;
  }
  return null;
}

function SelfTimes({ trace }: { trace: Trace }) {
  const { rows, services } = layOut(trace.spans);
  const total = rows.reduce((sum, row) => sum + row.selfUs, 0) || 1;
  const parts = services.map((service) => ({
    service,
    selfUs: rows.filter((row) => row.span.service === service).reduce((sum, row) => sum + row.selfUs, 0),
  }));
  parts.sort((left, right) => right.selfUs - left.selfUs);
  return (
    <div class="self-times">
      <div class="self-bar" aria-hidden="true">
        {parts.map(({ service, selfUs }) => (
          <i key={service} class={`tone-${serviceTone(service)}`} style={{ flexGrow: selfUs / total }} />
        ))}
      </div>
      <ul aria-label="Time spent in each service itself">
        {parts.map(({ service, selfUs }) => (
          <li key={service}>
            <ServiceTag name={service} /> <b>{latency(selfUs)}</b>{" "}
            <span class="muted">{percent(Math.round((selfUs / total) * 1000) / 1000)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function TraceLogs({ traceId, startMs, young }: { traceId: string; startMs: number; young: boolean }) {
  const filter = { service: "", level: "", text: "", requestId: "", traceId };
  const { data, error, reload } = useResource(
    (signal) =>
      queryLogs(
        logQuery(filter, SERVICE_LABEL, LEVEL_LABEL),
        { startMs: startMs - 60_000, endMs: Math.min(Date.now(), startMs + 3_600_000) },
        LOG_LINES,
        signal,
      ),
    [traceId],
    { everyMs: young ? 5000 : undefined },
  );
  return (
    <Panel title="Logs" note={data && data.length > 0 ? `${data.length} lines` : undefined} flush>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="its log lines" />}
      {data?.length === 0 && <Empty icon="logs" title="No log lines carry this trace id" />}
      {data && data.length > 0 && <LogTable lines={[...data].reverse()} hideTrace />}
    </Panel>
  );
}
