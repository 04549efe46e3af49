// Logs: what was written, how much of it when, which fields it carries; a live tail; the whole search in the address.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { ApiError } from "../api/http";
import { countLines, detectedFields } from "../api/loki";
import { Badge, Empty, Failure, Loading, Page } from "../components/basics";
import { Icon } from "../components/Icon";
import { LogFacets } from "../components/LogFacets";
import { countedSlices, loadedSlices, LogHistogram } from "../components/LogHistogram";
import { LogView } from "../components/LogView";
import { PeriodPicker } from "../components/PeriodPicker";
import { count } from "../format";
import { useDebounced, useResource } from "../hooks";
import { exportText, facetsOf, MOST_LINES, NO_FACETS, type Facet } from "../lib/log-buffer";
import { LEVEL_LABEL, SERVICE_LABEL } from "../lib/log-labels";
import { countQuery, logQuery, quote, readFields, toggleField, writeFields, type FieldFilter } from "../lib/logql";
import { classify } from "../lib/search";
import { periodQuery, readPeriod, stepFor, type Range } from "../lib/time-range";
import { useLogSearch, type LogSearch } from "../log-search";
import { useQuery } from "../router";

type SetQuery = (change: Readonly<Record<string, string>>) => void;

const SLICES = 90;

interface Search {
  readonly service: string;
  readonly level: string;
  readonly text: string;
  readonly requestId: string;
  readonly traceId: string;
  readonly fields: readonly FieldFilter[];
  /** LogQL as a person wrote it; it replaces the filters. */
  readonly raw: string;
}

function readSearch(query: URLSearchParams): Search {
  return {
    service: query.get("service") ?? "",
    level: query.get("level") ?? "",
    text: query.get("text") ?? "",
    requestId: query.get("request") ?? "",
    traceId: query.get("trace") ?? "",
    fields: readFields(query.get("fields")),
    raw: query.get("q") ?? "",
  };
}

/** The filters that stand, the service and the level among them. */
function standing(search: Search): FieldFilter[] {
  const of = (key: string, value: string): FieldFilter[] => (value ? [{ key, op: "=", value }] : []);
  return [...of(SERVICE_LABEL, search.service), ...of(LEVEL_LABEL, search.level), ...search.fields];
}

function toggled(search: Search, field: FieldFilter): Record<string, string> {
  if (search.raw) return { q: `${search.raw} | ${field.key}${field.op}${quote(field.value)}` };
  const name = field.key === SERVICE_LABEL ? "service" : field.key === LEVEL_LABEL ? "level" : null;
  if (name !== null && field.op === "=") {
    const fields = search.fields.filter(({ key, value }) => key !== field.key || value !== field.value);
    return { [name]: search[name] === field.value ? "" : field.value, fields: writeFields(fields) };
  }
  const stood = name !== null && search[name] === field.value ? { [name]: "" } : {};
  return { ...stood, fields: writeFields(toggleField(search.fields, field)) };
}

export function LogsScreen() {
  const [query, setQuery] = useQuery();
  const period = readPeriod(query, "15m");
  const search = readSearch(query);
  const tail = query.get("tail") === "1" && period.fixed === null;
  const logql = search.raw || logQuery(search, SERVICE_LABEL, LEVEL_LABEL);
  const found = useLogSearch(logql, period, tail);
  const toggle = (field: FieldFilter): void => setQuery(toggled(search, field));
  const fields = standing(search);
  return (
    <Page title="Logs" tools={<PeriodPicker period={period} setQuery={setQuery} />}>
      <SearchForm search={search} logql={logql} setQuery={setQuery} reload={found.reload} />
      <Filters search={search} toggle={toggle} setQuery={setQuery} />
      {found.error && <Failure error={found.error} retry={found.reload} />}
      <div class="logs">
        <Facets logql={logql} found={found} fields={fields} toggle={toggle} />
        <section class="panel flush log-panel" aria-label="Lines">
          <Timeline logql={logql} found={found} live={tail} setQuery={setQuery} />
          {tail && found.dropped > 0 && <Dropped found={found} />}
          <Tools found={found} tail={tail} fixed={period.fixed !== null} query={query} setQuery={setQuery} />
          {found.lines.length > 0 ? (
            <LogView
              lines={found.lines}
              version={found.version}
              wrap={query.get("wrap") === "1"}
              fields={fields}
              toggle={toggle}
              onEnd={found.more}
            />
          ) : (
            <Nothing found={found} tail={tail} />
          )}
        </section>
      </div>
    </Page>
  );
}

/** A tail sends what a reader keeps up with; what it left out is stored and can be searched. */
function Dropped({ found }: { found: LogSearch }) {
  return (
    <div class="log-note" role="status">
      <p>
        At least {count(found.dropped)} {found.dropped === 1 ? "line" : "lines"} went by too fast to be shown. They are
        stored: search again to see them, or filter so that fewer come.
      </p>
      <button type="button" class="button small" onClick={found.reload}>
        <Icon name="refresh" size={14} /> Search again
      </button>
    </div>
  );
}

function Nothing({ found, tail }: { found: LogSearch; tail: boolean }) {
  if (found.loading) return <Loading what="log lines" />;
  if (found.error) return null;
  return (
    <Empty icon="logs" title={tail ? "Waiting for the first line" : "No lines match"}>
      {tail
        ? "Lines appear here as they are written."
        : "Widen the time range or drop a filter. Lines are searchable within a few seconds of being written."}
    </Empty>
  );
}

interface FormProps {
  readonly search: Search;
  readonly logql: string;
  readonly setQuery: SetQuery;
  readonly reload: () => void;
}

function SearchForm({ search, logql, setQuery, reload }: FormProps) {
  return search.raw ? (
    <RawForm raw={search.raw} setQuery={setQuery} reload={reload} />
  ) : (
    <FilterForm search={search} logql={logql} setQuery={setQuery} reload={reload} />
  );
}

function RawForm({ raw, setQuery, reload }: { raw: string; setQuery: SetQuery; reload: () => void }) {
  const [text, setText] = useState(raw);
  useEffect(() => setText(raw), [raw]);
  return (
    <form
      class="filters"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() === raw) reload();
        else setQuery({ q: text.trim() });
      }}
    >
      <label class="grow">
        LogQL
        <input
          type="search"
          class="mono"
          data-slash=""
          value={text}
          spellcheck={false}
          autoComplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="button primary">
        Search
      </button>
      <button type="button" class="button" onClick={() => setQuery({ q: "" })}>
        Back to filters
      </button>
    </form>
  );
}

function FilterForm({ search, logql, setQuery, reload }: FormProps) {
  const [text, setText] = useState(search.text);
  const [id, setId] = useState(search.requestId || search.traceId);
  const settled = useDebounced(text, 300);
  useEffect(() => {
    if (settled !== search.text) setQuery({ text: settled });
  }, [settled]);
  useEffect(() => setId(search.requestId || search.traceId), [search.requestId, search.traceId]);
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
      <label class="grow">
        Contains
        <input
          type="search"
          name="text"
          data-slash=""
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
      <button type="submit" class="button primary">
        Search
      </button>
      <button type="button" class="button" title="Write the query by hand" onClick={() => setQuery({ q: logql })}>
        Edit as LogQL
      </button>
    </form>
  );
}

function Filters(props: { search: Search; toggle: (field: FieldFilter) => void; setQuery: SetQuery }) {
  const { search, toggle, setQuery } = props;
  const fields = search.raw ? [] : standing(search);
  if (fields.length === 0) return null;
  return (
    <div class="chips" role="group" aria-label="Filters">
      {fields.map((field) => (
        <button
          key={`${field.key}${field.op}${field.value}`}
          type="button"
          class={`chip filter-chip ${field.op === "=" ? "" : "out"}`}
          title="Drop this filter"
          onClick={() => toggle(field)}
        >
          {field.key} {field.op} <b>{field.value || "(empty)"}</b> <Icon name="close" size={10} />
        </button>
      ))}
      {fields.length > 1 && (
        <button type="button" class="chip" onClick={() => setQuery({ service: "", level: "", fields: "" })}>
          Drop all
        </button>
      )}
    </div>
  );
}

interface TimelineProps {
  readonly logql: string;
  readonly found: LogSearch;
  readonly live: boolean;
  readonly setQuery: SetQuery;
}

const LIVE_MS = 10_000;

function Timeline({ logql, found, live, setQuery }: TimelineProps) {
  const { range } = found;
  const step = stepFor(range, SLICES);
  const stepMs = step * 1000;
  // Whole steps, so that a bar is the step that its edges say.
  const whole: Range = {
    startMs: Math.floor(range.startMs / stepMs) * stepMs,
    endMs: Math.ceil((live ? Date.now() : range.endMs) / stepMs) * stepMs,
  };
  const counted = useResource(
    (signal) => {
      const asked = { startMs: whole.startMs + stepMs, endMs: whole.endMs };
      return countLines(countQuery(logql, LEVEL_LABEL, step), LEVEL_LABEL, asked, step, signal);
    },
    [logql, range.startMs, range.endMs],
    { everyMs: live ? LIVE_MS : undefined },
  );
  const slices = useMemo(() => {
    return counted.data ? countedSlices(counted.data, whole, stepMs) : loadedSlices(found.lines, whole, stepMs);
  }, [counted.data, found.version, whole.startMs, whole.endMs, stepMs]);
  // Where the lines themselves cannot be had, that is said already.
  const uncounted = counted.error && !counted.data && !found.error ? counted.error : undefined;
  return (
    <>
      <LogHistogram slices={slices} stepMs={stepMs} onZoom={(chosen) => setQuery({ ...periodQuery({ fixed: chosen }), tail: "" })} />
      {uncounted && (
        <p class="log-note" role="status">
          The timeline shows the loaded lines alone, since they could not be counted: {uncounted.detail || uncounted.title}
        </p>
      )}
    </>
  );
}

interface ToolsProps {
  readonly found: LogSearch;
  readonly tail: boolean;
  readonly fixed: boolean;
  readonly query: URLSearchParams;
  readonly setQuery: SetQuery;
}

function Tools({ found, tail, fixed, query, setQuery }: ToolsProps) {
  const wrap = query.get("wrap") === "1";
  const { length } = found.lines;
  return (
    <div class="log-tools">
      <p class="muted" role="status">
        {count(length)} {length === 1 ? "line" : "lines"}
        {found.complete || found.loading ? "" : " so far"}, newest first
        {length >= MOST_LINES ? "; narrow the range for older ones" : ""}
      </p>
      {tail && <Live found={found} />}
      <span class="log-keys muted" aria-hidden="true">
        <kbd>j</kbd> <kbd>k</kbd> <kbd>Enter</kbd> <kbd>/</kbd>
      </span>
      <label class="check">
        <input type="checkbox" checked={wrap} onChange={() => setQuery({ wrap: wrap ? "" : "1" })} />
        Wrap
      </label>
      <label class="check" title={fixed ? "Follow needs a range that ends now" : undefined}>
        <input
          type="checkbox"
          checked={tail}
          disabled={fixed}
          onChange={() => setQuery({ tail: tail ? "" : "1" })}
        />
        Follow
      </label>
      <button type="button" class="button small" disabled={length === 0} onClick={() => save(found, "text")}>
        <Icon name="save" size={14} /> Text
      </button>
      <button type="button" class="button small" disabled={length === 0} onClick={() => save(found, "json")}>
        <Icon name="save" size={14} /> JSON
      </button>
    </div>
  );
}

function Live({ found }: { found: LogSearch }) {
  const { paused, held, pause } = found;
  return (
    <span class="log-live" role="status">
      <Badge tone={paused ? "warn" : "good"}>{paused ? "Paused" : "Live"}</Badge>
      {paused && held > 0 && `${count(held)} new`}
      <button type="button" class="button small" onClick={() => pause(!paused)}>
        <Icon name={paused ? "play" : "pause"} size={14} /> {paused ? "Go on" : "Pause"}
      </button>
    </span>
  );
}

/** Hands the loaded lines over as a file. */
function save(found: LogSearch, form: "text" | "json"): void {
  const blob = new Blob([exportText(found.lines, form)], { type: form === "json" ? "application/x-ndjson" : "text/plain" });
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = `logs-${new Date().toISOString().slice(0, 19)}.${form === "json" ? "jsonl" : "txt"}`;
  anchor.click();
  URL.revokeObjectURL(address);
}

interface FacetsProps {
  readonly logql: string;
  readonly found: LogSearch;
  readonly fields: readonly FieldFilter[];
  readonly toggle: (field: FieldFilter) => void;
}

interface Exact {
  readonly facet: Facet | null;
  readonly error: ApiError | undefined;
}

function useExact(logql: string, label: string, range: Range): Exact {
  const seconds = Math.max(1, Math.round((range.endMs - range.startMs) / 1000));
  const { data, error } = useResource(
    (signal) => {
      const once = { startMs: range.endMs, endMs: range.endMs + 1000 };
      return countLines(countQuery(logql, label, seconds), label, once, seconds, signal);
    },
    [logql, label, range.startMs, range.endMs],
  );
  if (!data || data.length === 0) return { facet: null, error };
  const values = data.map(({ value, total }) => [value, total] as const);
  const sorted = values.sort(([, left], [, right]) => right - left);
  return { facet: { key: label, distinct: values.length, values: sorted }, error };
}

function Facets({ logql, found, fields, toggle }: FacetsProps) {
  const { range } = found;
  const level = useExact(logql, LEVEL_LABEL, range);
  const service = useExact(logql, SERVICE_LABEL, range);
  const names = useResource((signal) => detectedFields(logql, range, signal), [logql, range.startMs, range.endMs]);
  const facets = useMemo((): readonly Facet[] => {
    const exact = [level.facet, service.facet].filter((facet) => facet !== null);
    const sampled = facetsOf(found.lines).filter(({ key }) => !exact.some((facet) => facet.key === key));
    const all = [...exact, ...sampled];
    const missing = (names.data ?? []).filter((name) => !NO_FACETS.has(name) && !all.some(({ key }) => key === name));
    return [...all, ...missing.map((key): Facet => ({ key, distinct: 0, values: [] }))];
  }, [found.version, level.facet, service.facet, names.data]);
  if (found.lines.length === 0) return <aside class="log-facets" aria-label="Fields" />;
  const failed = level.error ?? service.error ?? names.error;
  const note = failed ? `The server could not look at all lines: ${failed.detail || failed.title} ` : "";
  return <LogFacets facets={facets} fields={fields} toggle={toggle} note={`${note}Fields of the newest 2,000 loaded lines.`} />;
}
