// The PromQL input: a combobox (ARIA 1.2) that completes metric names, functions, labels and values, and says
// what each of them means.

import { useRef, useState } from "preact/hooks";
import { labelNames, labelValues, metadata, metricNames, type MetricInfo } from "../api/prometheus";
import { useDebounced, useResource } from "../hooks";
import { contextAt, rank, type Context } from "../lib/promql";
import { DOCS, FUNCTIONS } from "../lib/promql-docs";

interface PromqlBoxProps {
  /** Tells the boxes of one page apart. */
  readonly name: string;
  readonly label: string;
  readonly value: string;
  readonly onChange: (text: string) => void;
  readonly onRun: (text: string) => void;
}

export function PromqlBox({ name, label, value, onChange, onRun }: PromqlBoxProps) {
  const input = useRef<HTMLInputElement>(null);
  const [cursor, setCursor] = useState(value.length);
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(0);
  const context = contextAt(value, cursor);
  const { candidates, infos } = useCandidates(context);
  const shown = open && context.kind !== "none" ? rank(candidates, context.prefix) : [];
  const pick = Math.min(chosen, shown.length - 1);
  const list = `${name}-options`;

  const accept = (candidate: string): void => {
    if (context.kind === "none") return;
    const suffix = context.kind === "name" && FUNCTIONS.includes(candidate) ? "(" : "";
    const next = value.slice(0, context.from) + candidate + suffix + value.slice(cursor);
    const at = context.from + candidate.length + suffix.length;
    onChange(next);
    setCursor(at);
    setOpen(false);
    requestAnimationFrame(() => input.current?.setSelectionRange(at, at));
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (shown.length > 0 && pick >= 0) {
      if (event.key === "ArrowDown") setChosen((pick + 1) % shown.length);
      else if (event.key === "ArrowUp") setChosen((pick + shown.length - 1) % shown.length);
      else if (event.key === "Tab" || (event.key === "Enter" && !event.ctrlKey)) accept(shown[pick] ?? "");
      else if (event.key === "Escape") setOpen(false);
      else return;
      event.preventDefault();
      return;
    }
    if (event.key === "Enter") {
      event.preventDefault();
      onRun(value);
    }
  };
  return (
    <div class="promql">
      <input
        ref={input}
        type="text"
        name={name}
        value={value}
        data-slash=""
        spellcheck={false}
        autoComplete="off"
        placeholder="rate(http_server_requests_total[1m])"
        role="combobox"
        aria-label={label}
        aria-autocomplete="list"
        aria-expanded={shown.length > 0}
        aria-controls={list}
        aria-activedescendant={shown.length > 0 ? `${name}-option-${pick}` : undefined}
        onInput={(event) => {
          onChange(event.currentTarget.value);
          setCursor(event.currentTarget.selectionStart ?? value.length);
          setChosen(0);
          setOpen(true);
        }}
        onSelect={(event) => setCursor(event.currentTarget.selectionStart ?? value.length)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <ul id={list} role="listbox" aria-label="Completions" hidden={shown.length === 0}>
        {shown.map((candidate, at) => (
          <li
            key={candidate}
            id={`${name}-option-${at}`}
            role="option"
            aria-selected={at === pick}
            onMouseDown={(event) => {
              event.preventDefault();
              accept(candidate);
            }}
          >
            <span>{candidate}</span>
            {context.kind === "name" && <Meaning name={candidate} infos={infos} />}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Meaning({ name, infos }: { name: string; infos: ReadonlyMap<string, MetricInfo> }) {
  const known = DOCS.get(name);
  if (known) {
    return (
      <small>
        <i>
          {name}({known[0]})
        </i>{" "}
        {known[1]}
      </small>
    );
  }
  // The series of a histogram are described under its own name.
  const info = infos.get(name) ?? infos.get(name.replace(/_(bucket|sum|count|total)$/, ""));
  if (!info) return null;
  return (
    <small>
      <i>{info.kind}</i> {info.help}
    </small>
  );
}

const NO_INFOS: ReadonlyMap<string, MetricInfo> = new Map();

function useCandidates(context: Context): {
  readonly candidates: readonly string[];
  readonly infos: ReadonlyMap<string, MetricInfo>;
} {
  const metric = useDebounced(context.kind === "label" || context.kind === "value" ? context.metric : "", 150);
  const label = context.kind === "value" ? context.label : "";
  const names = useResource(metricNames, []);
  const meanings = useResource(metadata, []);
  const labels = useResource((signal) => labelNames(metric, signal), [metric], { enabled: context.kind === "label" });
  const values = useResource((signal) => labelValues(label, metric, signal), [label, metric], {
    enabled: context.kind === "value",
  });
  const infos = meanings.data ?? NO_INFOS;
  switch (context.kind) {
    case "name":
      return { candidates: [...(names.data ?? []), ...FUNCTIONS], infos };
    case "label":
      return { candidates: labels.data ?? [], infos };
    case "value":
      return { candidates: values.data ?? [], infos };
    case "none":
      return { candidates: [], infos };
  }
}
