// Fields of the found lines with their commonest values; a click keeps lines with a value or leaves them out.

import { useState } from "preact/hooks";
import { count } from "../format";
import type { Facet } from "../lib/log-buffer";
import { isLabelName, type FieldFilter } from "../lib/logql";
import { Icon } from "./Icon";

interface FacetsProps {
  readonly facets: readonly Facet[];
  readonly fields: readonly FieldFilter[];
  readonly toggle: (field: FieldFilter) => void;
  /** What the counts count. */
  readonly note: string;
}

/** Open from the start; the others open by a click. */
const FIRST = ["level", "service_name"];

export function LogFacets({ facets, fields, toggle, note }: FacetsProps) {
  const first = FIRST.flatMap((key) => facets.filter((facet) => facet.key === key));
  const rest = facets.filter(({ key }) => !FIRST.includes(key) && isLabelName(key));
  return (
    <aside class="log-facets" aria-label="Fields">
      {[...first, ...rest].map((facet) => (
        <FacetGroup key={facet.key} facet={facet} fields={fields} toggle={toggle} start={FIRST.includes(facet.key)} />
      ))}
      <p class="log-facets-note muted">{note}</p>
    </aside>
  );
}

interface GroupProps {
  readonly facet: Facet;
  readonly fields: readonly FieldFilter[];
  readonly toggle: (field: FieldFilter) => void;
  readonly start: boolean;
}

function FacetGroup({ facet, fields, toggle, start }: GroupProps) {
  const filtered = fields.some(({ key }) => key === facet.key);
  const [open, setOpen] = useState(start || filtered);
  const most = Math.max(1, ...facet.values.map(([, lines]) => lines));
  const stands = (op: "=" | "!=", value: string): boolean =>
    fields.some((field) => field.key === facet.key && field.op === op && field.value === value);
  return (
    <section class="log-facet">
      <button type="button" class="log-facet-name" aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name={open ? "down" : "right"} size={12} />
        <span>{facet.key}</span>
        <small>{facet.distinct}</small>
      </button>
      {open && (
        <ul>
          {facet.values.map(([value, lines]) => (
            <li key={value} class={stands("!=", value) ? "left-out" : ""}>
              <button
                type="button"
                class="facet-value"
                aria-pressed={stands("=", value)}
                title={`Only ${facet.key} ${value}`}
                onClick={() => toggle({ key: facet.key, op: "=", value })}
              >
                <i style={{ width: `${(lines / most) * 100}%` }} aria-hidden="true" />
                <span>{value || "(empty)"}</span>
                <b>{count(lines)}</b>
              </button>
              <button
                type="button"
                class="facet-out"
                aria-pressed={stands("!=", value)}
                aria-label={`Leave out ${facet.key} ${value}`}
                title={`Leave out ${value}`}
                onClick={() => toggle({ key: facet.key, op: "!=", value })}
              >
                <Icon name="minus" size={11} />
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
