// A list of up to a million log lines: only the rows in view are elements, older pages are asked for when the
// end comes near, and the view stands still while newer lines arrive above it.

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { opened, type LogLine, type StoredLine } from "../api/loki";
import { clockTime, dateTime } from "../format";
import { lineText } from "../lib/log-line";
import type { FieldFilter } from "../lib/logql";
import { mapScroll, planRows, planUneven, type RowPlan } from "../lib/rows";
import { ServiceTag, TraceLink } from "./basics";
import { LogDetail } from "./LogDetail";

const ROW = 24;
/** Of one more row of a wrapped line. */
const TEXT_ROW = 17;
const MOST_TEXT_ROWS = 40;
const MARGIN_ROWS = 12;
/** The next page is asked for this many rows before the end. */
const AHEAD = 300;

interface ViewProps {
  readonly lines: readonly StoredLine[];
  /** Changes with the lines, which are the same array as they grow. */
  readonly version: number;
  readonly wrap: boolean;
  readonly fields: readonly FieldFilter[];
  readonly toggle: (field: FieldFilter) => void;
  readonly onEnd: () => void;
}

export function LogView({ lines, version, wrap, fields, toggle, onEnd }: ViewProps) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ scrollTop: 0, height: 600, columns: 120 });
  const [open, setOpen] = useState<StoredLine | null>(null);
  const [detailHeight, setDetailHeight] = useState(0);
  const [at, setAt] = useState(-1);
  const openIndex = useMemo(() => (open ? lines.indexOf(open) : -1), [open, version]);
  const openRow = openIndex >= 0 ? { index: openIndex, height: detailHeight } : null;
  const plan = useMemo(() => {
    if (!wrap) return planRows(lines.length, ROW, openRow);
    return planUneven(heights(lines, view.columns), lines.length, openRow);
  }, [version, wrap, view.columns, openIndex, detailHeight]);
  const scroll = mapScroll(plan.total, view.height);
  const offset = scroll.toOffset(view.scrollTop);
  const first = Math.max(0, plan.at(offset) - MARGIN_ROWS);
  const last = Math.min(lines.length, plan.at(offset + view.height) + MARGIN_ROWS);

  useStill(box, lines, version, plan, scroll.toScroll);
  useMeasure(box, setView);
  useEffect(() => {
    if (lines.length - last < AHEAD) onEnd();
  }, [last, version]);

  const bring = (index: number): void => {
    const element = box.current;
    if (!element) return;
    const top = plan.top(index);
    if (top < offset) element.scrollTop = scroll.toScroll(top);
    else if (top + ROW > offset + view.height) element.scrollTop = scroll.toScroll(top + ROW - view.height);
  };
  const choose = (index: number): void => {
    const next = Math.max(0, Math.min(lines.length - 1, index));
    setAt(next);
    bring(next);
  };
  const flip = (index: number): void => {
    const line = lines[index];
    setAt(index);
    setOpen(line === undefined || line === open ? null : line);
  };
  useListKeys({ at, choose, flip, page: Math.floor(view.height / ROW), last: lines.length - 1 });

  return (
    <div ref={box} class={`log-view ${wrap ? "wrapped" : ""}`} tabIndex={0} role="group" aria-label="Lines, newest first">
      <ol class="log-list" style={{ height: `${scroll.height}px` }}>
        {lines.slice(first, last).map((line, near) => {
          const index = first + near;
          return (
            <li
              key={`${line.nanos}${index}`}
              class={`level-${line.stream["level"] ?? "none"} ${index === openIndex ? "open" : ""} ${index === at ? "at" : ""}`}
              style={{ top: `${plan.top(index) - offset + view.scrollTop}px` }}
              aria-setsize={lines.length}
              aria-posinset={index + 1}
            >
              <LogRow line={line} height={rowHeight(plan, index, openRow)} open={index === openIndex} flip={() => flip(index)} />
              {index === openIndex && (
                <Measured onHeight={setDetailHeight}>
                  <LogDetail key={line.nanos} stored={line} fields={fields} toggle={toggle} />
                </Measured>
              )}
            </li>
          );
        })}
      </ol>
    </div>
  );
}

function rowHeight(plan: RowPlan, index: number, open: { index: number; height: number } | null): number {
  const bottom = index + 1 < plan.count ? plan.top(index + 1) : plan.total;
  return bottom - plan.top(index) - (open?.index === index ? open.height : 0);
}

interface RowProps {
  readonly line: StoredLine;
  readonly height: number;
  readonly open: boolean;
  readonly flip: () => void;
}

function LogRow({ line: stored, height, open, flip }: RowProps) {
  const line = useMemo(() => opened(stored), [stored]);
  const { text, details } = lineText(line.message, line.fields);
  return (
    <div class="log-line" style={{ height: `${height}px` }}>
      <button type="button" class="log-open" aria-expanded={open} onClick={flip}>
        <time title={dateTime(line.atMs)}>{clockTime(line.atMs)}</time>
        <span class="log-level">{line.level || "–"}</span>
        <ServiceTag name={line.service} />
        <span class="log-text">
          {text}
          {details.map(([key, value]) => (
            <span key={key} class="log-field">
              {" "}
              {key}=<i>{value}</i>
            </span>
          ))}
        </span>
      </button>
      {line.traceId && <TraceLink id={line.traceId} label="trace" />}
    </div>
  );
}

/** Lengths of the lines as they are shown; each is read once. */
const lengths = new WeakMap<StoredLine, number>();

function shownLength(stored: StoredLine): number {
  const known = lengths.get(stored);
  if (known !== undefined) return known;
  const line: LogLine = opened(stored);
  const { text, details } = lineText(line.message, line.fields);
  const length = details.reduce((sum, [key, value]) => sum + key.length + value.length + 2, text.length);
  lengths.set(stored, length);
  return length;
}

function* heights(lines: readonly StoredLine[], columns: number): Generator<number> {
  for (const line of lines) {
    const rows = Math.ceil(shownLength(line) / Math.max(10, columns));
    yield ROW + (Math.max(1, Math.min(MOST_TEXT_ROWS, rows)) - 1) * TEXT_ROW;
  }
}

function Measured({ onHeight, children }: { onHeight: (height: number) => void; children: preact.ComponentChildren }) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    onHeight(element.offsetHeight);
    const observer = new ResizeObserver(() => onHeight(element.offsetHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return <div ref={box}>{children}</div>;
}

type View = { scrollTop: number; height: number; columns: number };

/** Follows the scroll position and size of the box; `columns` is how many letters fit one row of text. */
function useMeasure(box: { current: HTMLDivElement | null }, setView: (change: (before: View) => View) => void): void {
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const measure = (): void => {
      const text = element.querySelector(".log-text");
      const width = text instanceof HTMLElement ? text.clientWidth : element.clientWidth - 330;
      const columns = Math.max(10, Math.floor(width / letterWidth(element)));
      setView((before) => ({ ...before, height: element.clientHeight, columns }));
    };
    const onScroll = (): void => setView((before) => ({ ...before, scrollTop: element.scrollTop }));
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, []);
}

function letterWidth(element: HTMLElement): number {
  const context = document.createElement("canvas").getContext("2d");
  if (!context) return 7.3;
  context.font = `12px ${getComputedStyle(element).getPropertyValue("--mono")}`;
  return context.measureText("0".repeat(100)).width / 100 || 7.3;
}

/** Newer lines push what is being read downwards: the scroll position goes with it, unless it is at the top. */
function useStill(
  box: { current: HTMLDivElement | null },
  lines: readonly StoredLine[],
  version: number,
  plan: RowPlan,
  toScroll: (offset: number) => number,
): void {
  const top = useRef<StoredLine | undefined>(undefined);
  useLayoutEffect(() => {
    const element = box.current;
    const before = top.current;
    top.current = lines[0];
    if (!element || element.scrollTop === 0 || before === undefined || before === lines[0]) return;
    const moved = lines.indexOf(before);
    if (moved > 0) element.scrollTop += toScroll(plan.top(moved));
  }, [version]);
}

interface ListKeys {
  readonly at: number;
  readonly last: number;
  readonly page: number;
  readonly choose: (index: number) => void;
  readonly flip: (index: number) => void;
}

/** j and k move, Enter opens, Home and End go to the ends. Never while typing. */
function useListKeys(keys: ListKeys): void {
  const now = useRef(keys);
  now.current = keys;
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const { at, last, page, choose, flip } = now.current;
      const target = event.target instanceof Element ? event.target : null;
      if (target?.closest("input, textarea, select, [contenteditable]")) return;
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      const inList = target?.closest(".log-view") !== null && target !== null;
      if (event.key === "j") choose(at + 1);
      else if (event.key === "k") choose(at - 1);
      else if (event.key === "Enter" && at >= 0 && !target?.closest("a, button")) flip(at);
      else if (inList && event.key === "PageDown") choose(at + page);
      else if (inList && event.key === "PageUp") choose(at - page);
      else if (inList && event.key === "Home") choose(0);
      else if (inList && event.key === "End") choose(last);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}
