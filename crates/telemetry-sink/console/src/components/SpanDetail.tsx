// What one span carries, and where to go from it: its log lines, the metrics of its service.

import type { SpanEvent, TraceSpan } from "../api/jaeger";
import { latency, MISSING } from "../format";
import { quote, writeFields } from "../lib/logql";
import { href } from "../lib/routes";
import { periodQuery } from "../lib/time-range";
import type { Row } from "../lib/waterfall";
import { Copy, KeyValues, TraceLink } from "./basics";

interface DetailProps {
  readonly row: Row<TraceSpan>;
  readonly traceId: string;
  readonly startUs: number;
  readonly zoom: () => void;
}

/** Metrics are looked at some time around the span: one scrape says nothing. */
const AROUND_MS = 15 * 60_000;
const LOG_MARGIN_MS = 1000;

export function SpanDetail({ row, traceId, startUs, zoom }: DetailProps) {
  const { span } = row;
  return (
    <div class="wf-detail">
      <p class="wf-links">
        <a class="button small" href={logsOf(span, traceId)}>
          Logs of this span
        </a>
        <a class="button small" href={metricsOf(span)}>
          Metrics of {span.service}
        </a>
        <button type="button" class="button small" onClick={zoom}>
          Zoom to this span
        </button>
      </p>
      <KeyValues
        pairs={[
          ["Starts at", latency(span.startUs - startUs)],
          ["Duration", latency(span.durationUs)],
          ["Self time", latency(row.selfUs)],
          ["Kind", span.kind],
          [
            "Span",
            <span key="id">
              <code>{span.spanId}</code> <Copy text={span.spanId} label="span id" />
            </span>,
          ],
          ["Parent", <code key="parent">{span.parentId ?? MISSING}</code>],
        ]}
      />
      <h3>Attributes</h3>
      {span.attributes.length === 0 ? (
        <p class="muted">None</p>
      ) : (
        <KeyValues pairs={span.attributes.map(({ key, value }) => [key, value] as const)} />
      )}
      {span.events.length > 0 && <h3>Events</h3>}
      {span.events.map((event, at) => (
        <EventView key={at} event={event} startUs={startUs} />
      ))}
      {span.links.length > 0 && <h3>Linked traces</h3>}
      {span.links.map((id) => (
        <p key={id}>
          <TraceLink id={id} label={id} />
        </p>
      ))}
      {span.resource.length > 0 && (
        <details>
          <summary>Resource</summary>
          <KeyValues pairs={span.resource.map(({ key, value }) => [key, value] as const)} />
        </details>
      )}
    </div>
  );
}

/** Where Jaeger's form keeps the name of an event. */
const NAME = "event";
const STACK = "exception.stacktrace";

function EventView({ event, startUs }: { event: SpanEvent; startUs: number }) {
  const name = event.attributes.find(({ key }) => key === NAME)?.value ?? NAME;
  const stack = event.attributes.find(({ key }) => key === STACK)?.value;
  const pairs = event.attributes.filter(({ key }) => key !== NAME && key !== STACK);
  return (
    <div class={`wf-occurred ${name === "exception" ? "bad" : ""}`}>
      <p>
        <b>{name}</b> <span class="muted">at {latency(event.atUs - startUs)}</span>
      </p>
      {pairs.length > 0 && <KeyValues pairs={pairs.map(({ key, value }) => [key, value] as const)} />}
      {stack && <pre class="block">{stack}</pre>}
    </div>
  );
}

function logsOf(span: TraceSpan, traceId: string): string {
  const fixed = {
    startMs: span.startUs / 1000 - LOG_MARGIN_MS,
    endMs: (span.startUs + span.durationUs) / 1000 + LOG_MARGIN_MS,
  };
  const fields = writeFields([{ key: "span_id", op: "=", value: span.spanId }]);
  return href("/logs", { trace: traceId, fields, ...periodQuery({ fixed }) });
}

function metricsOf(span: TraceSpan): string {
  const middle = span.startUs / 1000;
  const fixed = { startMs: middle - AROUND_MS, endMs: Math.min(Date.now(), middle + AROUND_MS) };
  const job = `{job=${quote(span.service)}}`;
  return href("/explore", {
    q: `sum by (status) (rate(http_server_requests_total${job}[1m]))`,
    q2: `histogram_quantile(0.99, sum by (le) (rate(http_server_request_duration_seconds_bucket${job}[1m])))`,
    ...periodQuery({ fixed }),
  });
}
