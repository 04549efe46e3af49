// Log search by service, level, text and ids, with a histogram of what was found and a live tail.

import { useEffect, useState } from "preact/hooks";
import { logLabelValues, queryLogs } from "../api/loki";
import { Empty, Failure, Loading, Page, Panel } from "../components/basics";
import { LogHistogram } from "../components/LogHistogram";
import { LogTable } from "../components/LogTable";
import { RangePicker } from "../components/RangePicker";
import { useDebounced, useResource } from "../hooks";
import { LEVEL_LABEL, SERVICE_LABEL } from "../lib/log-labels";
import { LEVELS, logQuery } from "../lib/logql";
import { classify } from "../lib/search";
import { rangeEnding, rangeName } from "../lib/time-range";
import { useQuery } from "../router";

const LIMIT = 500;
const TAIL_MS = 2000;

export function LogsScreen() {
  const [query, setQuery] = useQuery();
  const range = rangeName(query.get("range"), "15m");
  const tail = query.get("tail") === "1";
  const filter = {
    service: query.get("service") ?? "",
    level: query.get("level") ?? "",
    text: query.get("text") ?? "",
    requestId: query.get("request") ?? "",
    traceId: query.get("trace") ?? "",
  };
  const logql = logQuery(filter, SERVICE_LABEL, LEVEL_LABEL);
  const { data, error, loading, reload } = useResource(
    async (signal) => {
      const span = rangeEnding(range, Date.now());
      return { span, lines: await queryLogs(logql, span, LIMIT, signal) };
    },
    [logql, range],
    { everyMs: tail ? TAIL_MS : undefined },
  );
  return (
    <Page title="Logs" tools={<RangePicker value={range} onChange={(name) => setQuery({ range: name })} />}>
      <Filters filter={filter} tail={tail} setQuery={setQuery} reload={reload} />
      <p class="query-line">
        <code>{logql}</code>
      </p>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && loading && <Loading what="log lines" />}
      {data && data.lines.length === 0 && (
        <Empty icon="logs" title="No lines match">
          Widen the time range or drop a filter. Lines are searchable within a few seconds of being written.
        </Empty>
      )}
      {data && data.lines.length > 0 && (
        <Panel
          title="Lines"
          note={
            data.lines.length === LIMIT
              ? `newest ${LIMIT}; narrow the search for older ones`
              : `${data.lines.length} lines, newest first`
          }
          flush
        >
          <LogHistogram lines={data.lines} range={data.span} />
          <LogTable lines={data.lines} />
        </Panel>
      )}
    </Page>
  );
}

interface FilterProps {
  readonly filter: { service: string; level: string; text: string; requestId: string; traceId: string };
  readonly tail: boolean;
  readonly setQuery: (change: Readonly<Record<string, string>>) => void;
  readonly reload: () => void;
}

function Filters({ filter, tail, setQuery, reload }: FilterProps) {
  const services = useResource((signal) => logLabelValues(SERVICE_LABEL, signal), []);
  const [text, setText] = useState(filter.text);
  const [id, setId] = useState(filter.requestId || filter.traceId);
  const settledText = useDebounced(text, 300);
  useEffect(() => {
    if (settledText !== filter.text) setQuery({ text: settledText });
  }, [settledText]);
  useEffect(() => setId(filter.requestId || filter.traceId), [filter.requestId, filter.traceId]);
  const submit = (event: Event): void => {
    event.preventDefault();
    const needle = classify(id);
    setQuery({
      text,
      trace: needle.kind === "trace" ? needle.id : "",
      request: needle.kind === "request" || needle.kind === "job" ? needle.id : "",
    });
    reload();
  };
  return (
    <form class="filters" onSubmit={submit}>
      <label>
        Service
        <select value={filter.service} onChange={(event) => setQuery({ service: event.currentTarget.value })}>
          <option value="">Every service</option>
          {(services.data ?? (filter.service ? [filter.service] : [])).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Level
        <select value={filter.level} onChange={(event) => setQuery({ level: event.currentTarget.value })}>
          <option value="">Every level</option>
          {LEVELS.map((level) => (
            <option key={level}>{level}</option>
          ))}
        </select>
      </label>
      <label class="grow">
        Contains
        <input
          type="search"
          name="text"
          value={text}
          spellcheck={false}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <label class="grow">
        Request or trace id
        <input
          type="search"
          name="id"
          value={id}
          spellcheck={false}
          autoComplete="off"
          onInput={(event) => setId(event.currentTarget.value)}
        />
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={tail}
          onChange={(event) => setQuery({ tail: event.currentTarget.checked ? "1" : "" })}
        />
        Follow
      </label>
      <button type="submit" class="button primary">
        Search
      </button>
    </form>
  );
}
