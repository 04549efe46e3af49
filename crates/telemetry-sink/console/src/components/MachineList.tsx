// A list of a look at the machine: searched above, sorted by its heads.

import { useState } from "preact/hooks";
import type { Wire } from "../api/wire";
import { useNow } from "../hooks";
import { matching, ordered, type Column, type MachineTable, type Sort } from "../lib/machine";
import { href } from "../lib/routes";
import { Badge, Empty, Panel } from "./basics";

const MOST_ROWS = 500;
const TICK_MS = 5000;

interface ListProps {
  readonly title: string;
  readonly table: MachineTable;
  readonly rows: readonly Wire[];
  readonly find: string;
}

export function MachineList({ title, table, rows, find }: ListProps) {
  const now = useNow(TICK_MS);
  const [sort, setSort] = useState<Sort | null>(table.sort);
  const { columns, things } = table;
  const found = ordered(matching(rows, columns, find), columns, sort);
  if (rows.length === 0) {
    return (
      <Empty icon="machine" title={`No ${things} can be seen`}>
        The machine has none, or the sink's unit hides them: <code>docs/operator/telemetry/diagnostics.md</code> says which
        lines of the unit show more.
      </Empty>
    );
  }
  if (found.length === 0) {
    return (
      <Empty icon="search" title={`None of the ${rows.length} ${things} matches`}>
        The search looks for every word in the cells as they are shown. Drop a word.
      </Empty>
    );
  }
  const note = found.length === rows.length ? `${rows.length} ${things}` : `${found.length} of ${rows.length} ${things}`;
  return (
    <Panel title={title} note={<span role="status">{note}</span>} flush>
      <div class="scroll-x" tabIndex={0} role="group" aria-label={title}>
        <table class="table rows">
          <thead>
            <tr>
              {columns.map((column, at) => (
                <Head key={column.label} column={column} at={at} sort={sort} setSort={setSort} />
              ))}
            </tr>
          </thead>
          <tbody>
            {found.slice(0, MOST_ROWS).map((row, at) => (
              <Row key={at} row={row} columns={columns} now={now} />
            ))}
          </tbody>
        </table>
      </div>
      {found.length > MOST_ROWS && (
        <p class="muted pad">{found.length - MOST_ROWS} more are not listed. Search to find them.</p>
      )}
    </Panel>
  );
}

interface HeadProps {
  readonly column: Column;
  readonly at: number;
  readonly sort: Sort | null;
  readonly setSort: (sort: Sort) => void;
}

function Head({ column, at, sort, setSort }: HeadProps) {
  const down = sort?.by === at ? sort.down : null;
  return (
    <th
      scope="col"
      class={column.number ? "num" : ""}
      aria-sort={down === null ? "none" : down ? "descending" : "ascending"}
    >
      <button
        type="button"
        class="sort"
        onClick={() => setSort({ by: at, down: down === null ? column.number === true : !down })}
      >
        {column.label}
        <span aria-hidden="true">{down === null ? "" : down ? " ↓" : " ↑"}</span>
      </button>
    </th>
  );
}

function Row({ row, columns, now }: { row: Wire; columns: readonly Column[]; now: number }) {
  return (
    <tr>
      {columns.map((column, at) => {
        const value = column.of(row);
        const shown = column.show(value, now);
        const title = value === null ? undefined : column.title?.(value);
        const kind = `${column.number ? "num" : ""} ${column.mono ? "mono" : ""}`;
        if (at === 0) {
          return (
            <th key={column.label} scope="row" class={`${kind} machine-name`}>
              <Cell column={column} shown={shown} value={value} />
            </th>
          );
        }
        return (
          <td key={column.label} class={kind} title={title}>
            <Cell column={column} shown={shown} value={value} />
          </td>
        );
      })}
    </tr>
  );
}

/** From this share on a file system is soon full. */
const NEARLY = 0.9;

function Cell({ column, shown, value }: { column: Column; shown: string; value: ReturnType<Column["of"]> }) {
  if (column.label === "Taken" && typeof value === "number") {
    return (
      <span class={`meter ${value >= NEARLY ? "bad" : ""}`} style={{ "--part": String(value) }}>
        {shown}
      </span>
    );
  }
  if (column.label === "Unit" && value !== null) {
    return <a href={href("/machine", { look: "processes", find: String(value) })}>{shown}</a>;
  }
  if (column.label === "Options") return <span class="machine-options">{shown}</span>;
  if (shown === "running" || shown === "up" || shown === "listening") return <Badge tone="good">{shown}</Badge>;
  if (shown === "not running" || shown === "down") return <Badge tone="idle">{shown}</Badge>;
  if (column.label === "State" && (value === "D" || value === "Z")) return <Badge tone="warn">{shown}</Badge>;
  return <>{shown}</>;
}
