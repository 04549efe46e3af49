// An instant result as a table: one column for each label that differs, the value last, sorted as a person asks.

import { useState } from "preact/hooks";
import type { Series } from "../api/prometheus";
import { inUnit, type Unit } from "../format";

const MOST_ROWS = 500;
const VALUE = "\u0000value";

interface TableProps {
  readonly caption: string;
  readonly series: readonly Series[];
  readonly unit: Unit;
}

export function ResultTable({ caption, series, unit }: TableProps) {
  const [sort, setSort] = useState<{ by: string; down: boolean }>({ by: VALUE, down: true });
  const columns = [...new Set(series.flatMap(({ labels }) => Object.keys(labels)))].sort();
  const value = (one: Series): number => one.points.at(-1)?.[1] ?? NaN;
  const order = (left: Series, right: Series): number => {
    const sign = sort.down ? -1 : 1;
    if (sort.by === VALUE) return sign * (value(left) - value(right));
    return sign * (left.labels[sort.by] ?? "").localeCompare(right.labels[sort.by] ?? "");
  };
  const rows = [...series].sort(order);
  const head = (by: string, label: string) => (
    <th
      key={by}
      scope="col"
      class={by === VALUE ? "num" : ""}
      aria-sort={sort.by !== by ? "none" : sort.down ? "descending" : "ascending"}
    >
      <button type="button" class="sort" onClick={() => setSort({ by, down: sort.by === by ? !sort.down : by === VALUE })}>
        {label}
        <span aria-hidden="true">{sort.by === by ? (sort.down ? " ↓" : " ↑") : ""}</span>
      </button>
    </th>
  );
  return (
    <div class="scroll-x" tabIndex={0} role="group" aria-label={caption}>
      <table class="table legend-table">
        <thead>
          <tr>
            {columns.map((column) => head(column, column))}
            {head(VALUE, "Value")}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, MOST_ROWS).map((one, at) => (
            <tr key={at}>
              {columns.map((column) => (
                <td key={column}>{one.labels[column] ?? ""}</td>
              ))}
              <td class="num" title={String(value(one))}>
                {inUnit(value(one), unit)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > MOST_ROWS && <p class="muted pad">{rows.length - MOST_ROWS} more series are not listed.</p>}
    </div>
  );
}
