// What one line holds: its text, its links, its fields with their filters, and the lines around it.

import { useState } from "preact/hooks";
import { logPage, opened, type LogLine, type StoredLine } from "../api/loki";
import { clockTime } from "../format";
import { useResource } from "../hooks";
import { SERVICE_LABEL } from "../lib/log-labels";
import { isLabelName, quote, type FieldFilter } from "../lib/logql";
import { Copy, Failure, KeyValues, Loading, RequestLink, TraceLink } from "./basics";
import { Icon } from "./Icon";

interface DetailProps {
  readonly stored: StoredLine;
  readonly fields: readonly FieldFilter[];
  readonly toggle?: ((field: FieldFilter) => void) | undefined;
}

export function LogDetail({ stored, fields, toggle }: DetailProps) {
  const line = opened(stored);
  const [around, setAround] = useState(false);
  const names = Object.entries(line.fields).sort(([left], [right]) => (left < right ? -1 : 1));
  const indexed = (key: string): boolean => isLabelName(key) && (key in stored.stream || key in (stored.metadata ?? {}));
  return (
    <div class="log-detail">
      {line.message && <p class="log-full">{line.message}</p>}
      <p class="log-links">
        {line.traceId && (
          <span>
            Trace <TraceLink id={line.traceId} label={line.traceId} />
          </span>
        )}
        {line.requestId && (
          <span>
            Request <RequestLink id={line.requestId} full />
          </span>
        )}
        <button type="button" class="button small" aria-expanded={around} onClick={() => setAround(!around)}>
          Lines around this one
        </button>
        <Copy text={stored.line} label="the line" />
      </p>
      {around && <Around stored={stored} service={line.service} />}
      <KeyValues
        pairs={names.map(([key, value]) => [
          key,
          toggle && indexed(key) ? (
            <FilterableValue key={key} name={key} value={value} fields={fields} toggle={toggle} />
          ) : (
            value
          ),
        ])}
      />
    </div>
  );
}

interface ValueProps {
  readonly name: string;
  readonly value: string;
  readonly fields: readonly FieldFilter[];
  readonly toggle: (field: FieldFilter) => void;
}

function FilterableValue({ name, value, fields, toggle }: ValueProps) {
  const stands = (op: "=" | "!="): boolean =>
    fields.some((field) => field.key === name && field.op === op && field.value === value);
  return (
    <span class="field-value">
      {value}
      <span class="field-filters">
        <button
          type="button"
          aria-pressed={stands("=")}
          aria-label={`Only lines with ${name} ${value}`}
          title="Only lines with this value"
          onClick={() => toggle({ key: name, op: "=", value })}
        >
          <Icon name="plus" size={11} />
        </button>
        <button
          type="button"
          aria-pressed={stands("!=")}
          aria-label={`Leave out lines with ${name} ${value}`}
          title="Leave out lines with this value"
          onClick={() => toggle({ key: name, op: "!=", value })}
        >
          <Icon name="minus" size={11} />
        </button>
      </span>
    </span>
  );
}

const AROUND = 10;
const AROUND_NANOS = 3_600_000_000_000n;

/** What the same service wrote before and after, whatever the search asks for. */
function Around({ stored, service }: { stored: StoredLine; service: string }) {
  const { data, error, reload } = useResource(
    async (signal): Promise<readonly LogLine[]> => {
      const at = BigInt(stored.nanos);
      const query = `{${SERVICE_LABEL}=${quote(service)}}`;
      const before = { start: String(at - AROUND_NANOS), end: String(at) };
      const after = { start: String(at), end: String(at + AROUND_NANOS) };
      const [older, newer] = await Promise.all([
        logPage(query, before, AROUND, signal),
        logPage(query, after, AROUND + 1, signal, "forward"),
      ]);
      return [...newer, ...older].reverse().map(opened);
    },
    [stored.nanos, service],
  );
  if (error) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="the lines around" />;
  const atMs = Number(stored.nanos.slice(0, -6));
  return (
    <ol class="log-around" aria-label={`What ${service} wrote before and after`}>
      {data.map((line, at) => (
        <li key={at} class={`level-${line.level || "none"} ${line.atMs === atMs && line.message === opened(stored).message ? "here" : ""}`}>
          <time>{clockTime(line.atMs)}</time>
          <span class="log-level">{line.level || "–"}</span>
          <span>{line.message}</span>
        </li>
      ))}
    </ol>
  );
}
