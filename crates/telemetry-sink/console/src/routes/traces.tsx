// Trace search. A request id that belongs to one trace opens it at once; a fresh one is waited for.

import { useEffect, useState } from "preact/hooks";
import { operations, searchBusiness, searchTraces, services, type Trace } from "../api/jaeger";
import { Badge, Empty, Failure, Loading, Page, Panel, ServiceTag } from "../components/basics";
import { PeriodPicker } from "../components/PeriodPicker";
import { Scatter } from "../components/Scatter";
import { ago, dateTime, latency, shortId } from "../format";
import { useNow, useResource } from "../hooks";
import { tracePath } from "../lib/routes";
import { classify, readAttributes } from "../lib/search";
import { rangeEnding, rangeOf, readPeriod } from "../lib/time-range";
import { summarize, type TraceSummary } from "../lib/trace-summary";
import { navigate, useQuery } from "../router";

/** Spans are exported in batches: a request made just now is findable a few seconds later. */
const WAIT_MS = 30_000;
const RETRY_MS = 1500;
const LIMIT = 50;

export function TracesScreen() {
  const [query, setQuery] = useQuery();
  const requestId = query.get("request") ?? "";
  return (
    <Page
      title="Traces"
      tools={<PeriodPicker period={readPeriod(query, "1h")} setQuery={setQuery} />}
    >
      <SearchForm query={query} setQuery={setQuery} />
      {requestId ? <ByRequest requestId={requestId} /> : <Results query={query} />}
    </Page>
  );
}

interface FormProps {
  readonly query: URLSearchParams;
  readonly setQuery: (change: Readonly<Record<string, string>>) => void;
}

function SearchForm({ query, setQuery }: FormProps) {
  const service = query.get("service") ?? "";
  const serviceList = useResource(services, []);
  const operationList = useResource((signal) => operations(service, signal), [service], { enabled: service !== "" });
  const [id, setId] = useState(query.get("request") ?? "");
  const [attributes, setAttributes] = useState(query.get("attributes") ?? "");
  const { unread } = readAttributes(attributes);
  const open = (event: Event): void => {
    event.preventDefault();
    const needle = classify(id);
    if (needle.kind === "trace") navigate(tracePath(needle.id));
    else setQuery({ request: needle.kind === "request" ? needle.id : "", attributes });
  };
  return (
    <form class="filters" onSubmit={open}>
      <label class="grow">
        Request or trace id
        <input
          type="search"
          name="id"
          data-slash=""
          value={id}
          spellcheck={false}
          autoComplete="off"
          onInput={(event) => setId(event.currentTarget.value)}
        />
      </label>
      <label>
        Service
        <select
          value={service}
          onChange={(event) => setQuery({ service: event.currentTarget.value, operation: "", request: "" })}
        >
          <option value="">All but console queries</option>
          {(serviceList.data ?? (service ? [service] : [])).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Operation
        <select
          value={query.get("operation") ?? ""}
          disabled={service === ""}
          onChange={(event) => setQuery({ operation: event.currentTarget.value })}
        >
          <option value="">Every operation</option>
          {(operationList.data ?? []).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <DurationSelect label="Longer than" value={query.get("min") ?? ""} change={(min) => setQuery({ min })} />
      <DurationSelect label="Shorter than" value={query.get("max") ?? ""} change={(max) => setQuery({ max })} />
      <label class="grow">
        Attributes
        <input
          type="search"
          name="attributes"
          class="mono"
          value={attributes}
          placeholder="http.response.status_code=500"
          spellcheck={false}
          autoComplete="off"
          aria-invalid={unread.length > 0}
          aria-describedby={unread.length > 0 ? "attributes-unread" : undefined}
          onInput={(event) => setAttributes(event.currentTarget.value)}
        />
        {unread.length > 0 && (
          <span id="attributes-unread" class="warn">
            Write {unread[0]} as name=value
          </span>
        )}
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={query.get("errors") === "1"}
          onChange={(event) => setQuery({ errors: event.currentTarget.checked ? "1" : "" })}
        />
        Errors only
      </label>
      <button type="submit" class="button primary">
        Find
      </button>
    </form>
  );
}

interface DurationProps {
  readonly label: string;
  readonly value: string;
  readonly change: (value: string) => void;
}

function DurationSelect({ label, value, change }: DurationProps) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => change(event.currentTarget.value)}>
        <option value="">Any</option>
        {["1ms", "10ms", "100ms", "1s", "10s"].map((duration) => (
          <option key={duration}>{duration}</option>
        ))}
      </select>
    </label>
  );
}

function ByRequest({ requestId }: { requestId: string }) {
  const [since] = useState(Date.now);
  const now = useNow(1000);
  const { data, error, reload } = useResource(
    (signal) =>
      searchTraces(
        { service: "", operation: "", requestId, minDuration: "", errorsOnly: false, limit: LIMIT },
        rangeEnding("7d", Date.now() + 60_000),
        signal,
      ),
    [requestId],
    { everyMs: RETRY_MS },
  );
  const only = data?.length === 1 ? data[0] : undefined;
  useEffect(() => {
    if (only) navigate(tracePath(only.traceId), { replace: true });
  }, [only]);
  if (error) return <Failure error={error} retry={reload} />;
  if (data && data.length > 1) return <TraceTable traces={data} />;
  if (only || now - since < WAIT_MS) {
    return <Loading what={`the trace of request ${requestId}; spans arrive a few seconds after the request`} />;
  }
  return (
    <Empty icon="traces" title="No trace carries this request id">
      Check the id: it is the <code>x-request-id</code> header of the answer. Requests that were not sampled, and those
      older than the retention time, have no trace.
    </Empty>
  );
}

function Results({ query }: { query: URLSearchParams }) {
  const search = {
    service: query.get("service") ?? "",
    operation: query.get("operation") ?? "",
    requestId: "",
    minDuration: query.get("min") ?? "",
    maxDuration: query.get("max") ?? "",
    attributes: readAttributes(query.get("attributes") ?? "").attributes,
    errorsOnly: query.get("errors") === "1",
    limit: LIMIT,
  };
  const period = readPeriod(query, "1h");
  const { data, error, loading, reload } = useResource(
    (signal) => (search.service === "" ? searchBusiness : searchTraces)(search, rangeOf(period, Date.now()), signal),
    [search, period],
    { everyMs: period.fixed ? undefined : 10_000 },
  );
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return loading ? <Loading what="traces" /> : null;
  if (data.length === 0) {
    return (
      <Empty icon="traces" title="No traces match">
        Widen the time range, or choose another service.
      </Empty>
    );
  }
  return <TraceTable traces={data} />;
}

function TraceTable({ traces }: { traces: readonly Trace[] }) {
  const now = useNow(5000);
  const rows = traces.map(summarize).sort((left, right) => right.startUs - left.startUs);
  const longest = Math.max(...rows.map((row) => row.durationUs), 1);
  return (
    <>
      <Panel title="Duration over time" note={`${rows.length} ${rows.length === 1 ? "trace" : "traces"}`}>
        <Scatter traces={rows} />
      </Panel>
      <Panel title="Traces" flush>
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Traces, newest first">
          <table class="table rows">
            <thead>
              <tr>
                <th scope="col">Operation</th>
                <th scope="col">Services</th>
                <th scope="col" class="num">
                  Spans
                </th>
                <th scope="col" class="num">
                  Duration
                </th>
                <th scope="col">Started</th>
                <th scope="col">Trace</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <TraceRow key={row.traceId} row={row} longest={longest} now={now} />
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
    </>
  );
}

/** More would take a second line of the row. */
const MOST_SERVICES = 4;

function TraceRow({ row, longest, now }: { row: TraceSummary; longest: number; now: number }) {
  return (
    <tr>
      <th scope="row">
        <a href={tracePath(row.traceId)}>{row.name}</a>{" "}
        {row.errors > 0 && <Badge tone="bad">{row.errors} failed</Badge>}
      </th>
      <td>
        <span class="service-list">
          {row.services.slice(0, MOST_SERVICES).map((service) => (
            <ServiceTag key={service} name={service} />
          ))}
          {row.services.length > MOST_SERVICES && (
            <span class="muted" title={row.services.slice(MOST_SERVICES).join(", ")}>
              and {row.services.length - MOST_SERVICES} more
            </span>
          )}
        </span>
      </td>
      <td class="num">{row.spans}</td>
      <td class="num">
        <span class="meter" style={{ "--part": String(row.durationUs / longest) }}>
          {latency(row.durationUs)}
        </span>
      </td>
      <td title={dateTime(row.startUs / 1000)}>{ago(row.startUs / 1000, now)}</td>
      <td class="mono muted" title={row.traceId}>
        {shortId(row.traceId)}
      </td>
    </tr>
  );
}
