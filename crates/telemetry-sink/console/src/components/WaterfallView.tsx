// The waterfall: one row per span. A row's button opens the span's attributes; the chevron folds
// its children; the arrow keys move between rows and fold as in a tree.

import { useMemo, useState } from "preact/hooks";
import type { TraceSpan } from "../api/jaeger";
import { latency, MISSING } from "../format";
import { serviceTone } from "../lib/tone";
import { ticks, type Row, type Waterfall } from "../lib/waterfall";
import { Icon } from "./Icon";
import { KeyValues, TraceLink } from "./basics";

type SpanRow = Row<TraceSpan>;

const MOST_ROWS = 2000;

export function WaterfallView({ waterfall }: { waterfall: Waterfall<TraceSpan> }) {
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const [open, setOpen] = useState<string | null>(null);
  const visible = useMemo(() => unfolded(waterfall.rows, folded).slice(0, MOST_ROWS), [waterfall, folded]);
  const fold = (id: string, shut: boolean): void => {
    const next = new Set(folded);
    if (shut) next.add(id);
    else next.delete(id);
    setFolded(next);
  };
  return (
    <div class="waterfall">
      <div class="wf-row wf-axis" aria-hidden="true">
        <span>Service and operation</span>
        <span class="wf-track">
          {ticks(waterfall.durationUs).map((at) => (
            <i key={at} style={{ left: `${(at / waterfall.durationUs) * 100}%` }}>
              {at === 0 ? "0" : latency(at)}
            </i>
          ))}
        </span>
      </div>
      <ol onKeyDown={(event) => moveFocus(event, fold)}>
        {visible.map((row) => (
          <li key={row.span.spanId} class={open === row.span.spanId ? "open" : ""}>
            <SpanLine
              row={row}
              folded={folded.has(row.span.spanId)}
              fold={fold}
              open={open === row.span.spanId}
              toggle={() => setOpen(open === row.span.spanId ? null : row.span.spanId)}
            />
            {open === row.span.spanId && <SpanDetail row={row} startUs={waterfall.startUs} />}
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
  readonly folded: boolean;
  readonly fold: (id: string, shut: boolean) => void;
  readonly open: boolean;
  readonly toggle: () => void;
}

function SpanLine({ row, folded, fold, open, toggle }: LineProps) {
  const { span } = row;
  const barEnd = row.left + row.width;
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
      <span class="wf-track" aria-hidden="true" onClick={toggle}>
        <i
          class={`wf-bar tone-${serviceTone(span.service)} ${row.critical ? "critical" : ""}`}
          style={{ left: `${row.left * 100}%`, width: `${row.width * 100}%` }}
        />
        <b
          class={barEnd > 0.85 ? "before" : ""}
          style={barEnd > 0.85 ? { right: `${(1 - row.left) * 100}%` } : { left: `${barEnd * 100}%` }}
        >
          {latency(span.durationUs)}
        </b>
      </span>
    </div>
  );
}

function SpanDetail({ row, startUs }: { row: SpanRow; startUs: number }) {
  const { span } = row;
  return (
    <div class="wf-detail">
      <KeyValues
        pairs={[
          ["Starts at", latency(span.startUs - startUs)],
          ["Duration", latency(span.durationUs)],
          ["Self time", latency(row.selfUs)],
          ["Kind", span.kind],
          ["Span", <code key="id">{span.spanId}</code>],
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
        <KeyValues
          key={at}
          pairs={[
            ["at", latency(event.atUs - startUs)],
            ...event.attributes.map(({ key, value }) => [key, value] as const),
          ]}
        />
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
