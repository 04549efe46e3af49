// The PromQL input: a combobox (ARIA 1.2) that completes metric names, functions, labels and values.

import { useRef, useState } from "preact/hooks";
import { labelNames, labelValues, metricNames } from "../api/prometheus";
import { useDebounced, useResource } from "../hooks";
import { contextAt, FUNCTIONS, rank, type Context } from "../lib/promql";

interface PromqlBoxProps {
  readonly value: string;
  readonly onChange: (text: string) => void;
  readonly onRun: (text: string) => void;
}

export function PromqlBox({ value, onChange, onRun }: PromqlBoxProps) {
  const input = useRef<HTMLInputElement>(null);
  const [cursor, setCursor] = useState(value.length);
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(0);
  const context = contextAt(value, cursor);
  const candidates = useCandidates(context);
  const shown = open && context.kind !== "none" ? rank(candidates, context.prefix) : [];
  const pick = Math.min(chosen, shown.length - 1);

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
      else if (event.key === "Tab" || event.key === "Enter") accept(shown[pick] ?? "");
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
        name="q"
        value={value}
        spellcheck={false}
        autoComplete="off"
        placeholder="rate(http_server_requests_total[1m])"
        role="combobox"
        aria-label="PromQL expression"
        aria-autocomplete="list"
        aria-expanded={shown.length > 0}
        aria-controls="promql-options"
        aria-activedescendant={shown.length > 0 ? `promql-option-${pick}` : undefined}
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
      <ul id="promql-options" role="listbox" aria-label="Completions" hidden={shown.length === 0}>
        {shown.map((candidate, at) => (
          <li
            key={candidate}
            id={`promql-option-${at}`}
            role="option"
            aria-selected={at === pick}
            onMouseDown={(event) => {
              event.preventDefault();
              accept(candidate);
            }}
          >
            {candidate}
            {FUNCTIONS.includes(candidate) && context.kind === "name" && <small>function</small>}
          </li>
        ))}
      </ul>
    </div>
  );
}

function useCandidates(context: Context): readonly string[] {
  const metric = useDebounced(context.kind === "label" || context.kind === "value" ? context.metric : "", 150);
  const label = context.kind === "value" ? context.label : "";
  const names = useResource(metricNames, []);
  const labels = useResource((signal) => labelNames(metric, signal), [metric], { enabled: context.kind === "label" });
  const values = useResource((signal) => labelValues(label, metric, signal), [label, metric], {
    enabled: context.kind === "value",
  });
  switch (context.kind) {
    case "name":
      return [...(names.data ?? []), ...FUNCTIONS];
    case "label":
      return labels.data ?? [];
    case "value":
      return values.data ?? [];
    case "none":
      return [];
  }
}
