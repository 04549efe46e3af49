// Log lines as a list; a line opens into its fields.

import { useState } from "preact/hooks";
import type { LogLine } from "../api/loki";
import { clockTime, dateTime } from "../format";
import { lineText } from "../lib/log-line";
import { ServiceTag, TraceLink } from "./basics";
import { LogDetail } from "./LogDetail";

export function LogTable({ lines, hideTrace = false }: { lines: readonly LogLine[]; hideTrace?: boolean }) {
  const [open, setOpen] = useState<string | null>(null);
  return (
    <ol class="log-list">
      {lines.map((line, at) => {
        const key = `${line.key}\u0000${at}`;
        const isOpen = open === line.key;
        return (
          <li key={key} class={`level-${line.level || "none"} ${isOpen ? "open" : ""}`}>
            <div class="log-line">
              <button
                type="button"
                class="log-open"
                aria-expanded={isOpen}
                onClick={() => setOpen(isOpen ? null : line.key)}
              >
                <time title={dateTime(line.atMs)}>{clockTime(line.atMs)}</time>
                <span class="log-level">{line.level || "–"}</span>
                <ServiceTag name={line.service} />
                <LineSummary line={line} />
              </button>
              {!hideTrace && line.traceId && <TraceLink id={line.traceId} label="trace" />}
            </div>
            {isOpen && <LogDetail stored={line.stored} fields={[]} />}
          </li>
        );
      })}
    </ol>
  );
}

function LineSummary({ line }: { line: LogLine }) {
  const { text, details } = lineText(line.message, line.fields);
  return (
    <span class="log-text">
      {text}
      {details.map(([key, value]) => (
        <span key={key} class="log-field">
          {" "}
          {key}=<i>{value}</i>
        </span>
      ))}
    </span>
  );
}
