// The waterfall: one row per span. A row's button opens the span's attributes; the chevron folds
// its children; the arrow keys move between rows and fold as in a tree.

import { useMemo, useRef, useState } from "preact/hooks";
import type { TraceSpan } from "../api/jaeger";
import { latency } from "../format";
import { serviceTone } from "../lib/tone";
import { matching, ticks, type Row, type Waterfall } from "../lib/waterfall";
import { Icon } from "./Icon";
import { Minimap, WHOLE, type Part } from "./Minimap";
import { SpanDetail } from "./SpanDetail";

type SpanRow = Row<TraceSpan>;

const MOST_ROWS = 2000;
/** Around a span that is zoomed to. */
const ZOOM_MARGIN = 0.1;

export function WaterfallView({ waterfall, traceId }: { waterfall: Waterfall<TraceSpan>; traceId: string }) {
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const [open, setOpen] = useState<string | null>(null);
  const [part, setPart] = useState<Part>(WHOLE);
  const [words, setWords] = useState("");
  const [criticalOnly, setCriticalOnly] = useState(false);
  const list = useRef<HTMLOListElement>(null);
  const found = useMemo(() => matching(waterfall.rows, words), [waterfall, words]);
  const visible = useMemo(() => {
    const rows = criticalOnly ? waterfall.rows.filter((row) => row.critical) : unfolded(waterfall.rows, folded);
    return rows.slice(0, MOST_ROWS);
  }, [waterfall, folded, criticalOnly]);
  const fold = (id: string, shut: boolean): void => {
    const next = new Set(folded);
    if (shut) next.add(id);
    else next.delete(id);
    setFolded(next);
  };
  const foldAll = (shut: boolean): void => {
    const parents = waterfall.rows.filter((row) => row.children > 0 && row.depth > 0);
    setFolded(new Set(shut ? parents.map((row) => row.span.spanId) : []));
  };
  const goToFound = (step: number): void => {
    const buttons = [...(list.current?.querySelectorAll<HTMLButtonElement>(".found .wf-open") ?? [])];
    const at = buttons.findIndex((button) => button.dataset["span"] === open);
    const next = buttons[(at + step + buttons.length) % buttons.length];
    if (!next) return;
    setOpen(next.dataset["span"] ?? null);
    next.scrollIntoView({ block: "center" });
  };
  return (
    <div class="waterfall">
      <Tools
        words={words}
        setWords={(text) => {
          setWords(text);
          // What is folded away cannot be gone to.
          if (text !== "" && folded.size > 0) setFolded(new Set());
        }}
        found={found?.size ?? null}
        goToFound={goToFound}
        criticalOnly={criticalOnly}
        setCriticalOnly={setCriticalOnly}
        foldAll={foldAll}
        zoomed={part !== WHOLE}
        whole={() => setPart(WHOLE)}
      />
      <div class="wf-row wf-map">
        <span />
        <span class="wf-track">
          <Minimap rows={waterfall.rows} part={part} choose={setPart} />
        </span>
      </div>
      <Axis durationUs={waterfall.durationUs} part={part} />
      <ol ref={list} onKeyDown={(event) => moveFocus(event, fold)}>
        {visible.map((row) => (
          <li
            key={row.span.spanId}
            class={`${open === row.span.spanId ? "open" : ""} ${found === null ? "" : found.has(row.span.spanId) ? "found" : "not-found"}`}
          >
            <SpanLine
              row={row}
              part={part}
              folded={folded.has(row.span.spanId)}
              fold={fold}
              open={open === row.span.spanId}
              toggle={() => setOpen(open === row.span.spanId ? null : row.span.spanId)}
            />
            {open === row.span.spanId && (
              <SpanDetail
                row={row}
                traceId={traceId}
                startUs={waterfall.startUs}
                zoom={() => setPart(partOf(row))}
              />
            )}
          </li>
        ))}
      </ol>
      {waterfall.rows.length > MOST_ROWS && (
        <p class="muted pad">
          Only the first {MOST_ROWS} of {waterfall.rows.length} spans are drawn; fold branches to see later ones.
        </p>
      )}
    </div>
  );
}

function partOf(row: SpanRow): Part {
  const margin = Math.max(row.width, 1e-6) * ZOOM_MARGIN;
  return { from: Math.max(0, row.left - margin), to: Math.min(1, row.left + row.width + margin) };
}

interface ToolsProps {
  readonly words: string;
  readonly setWords: (text: string) => void;
  readonly found: number | null;
  readonly goToFound: (step: number) => void;
  readonly criticalOnly: boolean;
  readonly setCriticalOnly: (only: boolean) => void;
  readonly foldAll: (shut: boolean) => void;
  readonly zoomed: boolean;
  readonly whole: () => void;
}

function Tools(props: ToolsProps) {
  return (
    <div class="wf-tools">
      <input
        type="search"
        data-slash=""
        aria-label="Find spans by service, operation or attribute"
        placeholder="Find spans"
        value={props.words}
        spellcheck={false}
        autoComplete="off"
        onInput={(event) => props.setWords(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") props.goToFound(event.shiftKey ? -1 : 1);
        }}
      />
      <span class="muted" role="status">
        {props.found === null ? "" : `${props.found} found`}
      </span>
      <label class="check">
        <input
          type="checkbox"
          checked={props.criticalOnly}
          onChange={(event) => props.setCriticalOnly(event.currentTarget.checked)}
        />
        <span class="wf-sample" aria-hidden="true" /> Critical path only
      </label>
      <button type="button" class="button small" onClick={() => props.foldAll(true)}>
        Fold all
      </button>
      <button type="button" class="button small" onClick={() => props.foldAll(false)}>
        Unfold all
      </button>
      <button type="button" class="button small" disabled={!props.zoomed} onClick={props.whole}>
        Whole trace
      </button>
    </div>
  );
}

function Axis({ durationUs, part }: { durationUs: number; part: Part }) {
  const shownUs = durationUs * (part.to - part.from);
  return (
    <div class="wf-row wf-axis" aria-hidden="true">
      <span>Service and operation</span>
      <span class="wf-track">
        {ticks(shownUs).map((at) => (
          <i key={at} style={{ left: `${(at / shownUs) * 100}%` }}>
            {axisLabel(at + part.from * durationUs)}
          </i>
        ))}
      </span>
    </div>
  );
}

const axisLabel = (us: number): string => (us < 1 ? "0" : latency(us));

function unfolded(rows: readonly SpanRow[], folded: ReadonlySet<string>): SpanRow[] {
  const result: SpanRow[] = [];
  let hiddenBelow = Infinity;
  for (const row of rows) {
    if (row.depth > hiddenBelow) continue;
    hiddenBelow = folded.has(row.span.spanId) ? row.depth : Infinity;
    result.push(row);
  }
  return result;
}

interface LineProps {
  readonly row: SpanRow;
  readonly part: Part;
  readonly folded: boolean;
  readonly fold: (id: string, shut: boolean) => void;
  readonly open: boolean;
  readonly toggle: () => void;
}

function SpanLine({ row, part, folded, fold, open, toggle }: LineProps) {
  const { span } = row;
  return (
    <div class={`wf-row ${span.error ? "failed" : ""}`}>
      <span class="wf-name" style={{ "--depth": String(Math.min(row.depth, 16)) }}>
        {row.children > 0 ? (
          <button
            type="button"
            class={`wf-fold ${folded ? "shut" : ""}`}
            tabIndex={-1}
            aria-label={`${folded ? "Show" : "Hide"} ${row.children} children of ${span.name}`}
            aria-expanded={!folded}
            onClick={() => fold(span.spanId, !folded)}
          >
            <Icon name="down" size={12} />
          </button>
        ) : (
          <span class="wf-leaf" />
        )}
        <button
          type="button"
          class="wf-open"
          data-span={span.spanId}
          data-service={span.service}
          data-foldable={row.children > 0 ? "" : undefined}
          aria-expanded={open}
          onClick={toggle}
        >
          <span class={`service tone-${serviceTone(span.service)}`}>
            <i aria-hidden="true" />
            {span.service}
          </span>
          <span class="wf-op">{span.name}</span>
          {span.error && <span class="bad">failed</span>}
          {row.critical && <span class="hidden-label">on the critical path, </span>}
          <span class="hidden-label">{latency(span.durationUs)}</span>
        </button>
      </span>
      <Bar row={row} part={part} toggle={toggle} />
    </div>
  );
}

function Bar({ row, part, toggle }: { row: SpanRow; part: Part; toggle: () => void }) {
  const size = part.to - part.from;
  const [from, to] = [(row.left - part.from) / size, (row.left + row.width - part.from) / size];
  const [left, right] = [Math.max(0, Math.min(1, from)), Math.max(0, Math.min(1, to))];
  const away = to < 0 || from > 1;
  const before = right > 0.85;
  // With no room on either side the figure stands in the bar.
  const inside = before && left < 0.1;
  return (
    <span class="wf-track" aria-hidden="true" onClick={toggle}>
      {!away && (
        <i
          class={`wf-bar tone-${serviceTone(row.span.service)} ${row.critical ? "critical" : ""}`}
          style={{ left: `${left * 100}%`, width: `${(right - left) * 100}%` }}
        />
      )}
      {eventPlaces(row, part).map((at) => (
        <em key={at} class={row.span.error ? "wf-event bad" : "wf-event"} style={{ left: `${at * 100}%` }} />
      ))}
      <b
        class={inside ? "inside" : before ? "before" : ""}
        style={inside ? { right: `${(1 - right) * 100}%` } : before ? { right: `${(1 - left) * 100}%` } : { left: `${right * 100}%` }}
      >
        {latency(row.span.durationUs)}
      </b>
    </span>
  );
}

/** A bar has room for so many marks. */
const MOST_MARKS = 20;

/** Where in the shown part the events of a span were, as fractions of it. */
function eventPlaces({ span, left, width }: SpanRow, part: Part): number[] {
  const places = span.events.slice(0, MOST_MARKS).map(({ atUs }) => {
    const within = span.durationUs === 0 ? 0 : (atUs - span.startUs) / span.durationUs;
    return (left + width * Math.max(0, Math.min(1, within)) - part.from) / (part.to - part.from);
  });
  return [...new Set(places)].filter((at) => at >= 0 && at <= 1);
}

function moveFocus(event: KeyboardEvent, fold: (id: string, shut: boolean) => void): void {
  if (!(event.currentTarget instanceof Element) || !(event.target instanceof HTMLElement)) return;
  const buttons = [...event.currentTarget.querySelectorAll<HTMLButtonElement>(".wf-open")];
  const at = buttons.findIndex((button) => button === event.target);
  const current = buttons[at];
  if (!current) return;
  const id = current.dataset["span"] ?? "";
  const foldable = current.dataset["foldable"] !== undefined;
  if (event.key === "ArrowDown") buttons[at + 1]?.focus();
  else if (event.key === "ArrowUp") buttons[at - 1]?.focus();
  else if (event.key === "ArrowLeft" && foldable) fold(id, true);
  else if (event.key === "ArrowRight" && foldable) fold(id, false);
  else return;
  event.preventDefault();
}
