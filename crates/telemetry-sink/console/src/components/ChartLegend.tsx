// The legend of a chart: a real table, since the canvas is a picture to assistive technology.

import { inUnit, type Unit } from "../format";
import type { Line } from "../lib/chart-data";

interface LegendProps {
  readonly lines: readonly Line[];
  readonly tones: readonly number[];
  readonly unit: Unit;
  readonly full: boolean;
  readonly hidden: ReadonlySet<string>;
  readonly toggle: (name: string) => void;
}

const LEGEND_ROWS = 50;

export function ChartLegend({ lines, tones, unit, full, hidden, toggle }: LegendProps) {
  const rows = lines.slice(0, LEGEND_ROWS).map((line, at) => ({ line, tone: tones[at] ?? 0, ...summary(line) }));
  const name = (row: (typeof rows)[number]) => (
    <button
      type="button"
      class={`legend-name tone-${row.tone}`}
      aria-pressed={!hidden.has(row.line.name)}
      onClick={() => toggle(row.line.name)}
    >
      <i aria-hidden="true" />
      <span>{row.line.name}</span>
    </button>
  );
  if (!full) {
    return (
      <figcaption class="legend">
        {rows.map((row) => (
          <span key={row.line.name} class="legend-item">
            {name(row)} <b>{inUnit(row.last, unit)}</b>
          </span>
        ))}
      </figcaption>
    );
  }
  return (
    <figcaption class="scroll-x" tabIndex={0} aria-label="Figures of each series">
      <table class="table legend-table">
        <thead>
          <tr>
            <th scope="col">Series</th>
            <th scope="col" class="num">
              Min
            </th>
            <th scope="col" class="num">
              Mean
            </th>
            <th scope="col" class="num">
              Max
            </th>
            <th scope="col" class="num">
              Last
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.line.name}>
              <th scope="row">{name(row)}</th>
              <td class="num">{inUnit(row.min, unit)}</td>
              <td class="num">{inUnit(row.mean, unit)}</td>
              <td class="num">{inUnit(row.max, unit)}</td>
              <td class="num">{inUnit(row.last, unit)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {lines.length > LEGEND_ROWS && (
        <p class="muted">{lines.length - LEGEND_ROWS} more series are drawn but not listed.</p>
      )}
    </figcaption>
  );
}

function summary({ points }: Line): {
  min: number | null;
  max: number | null;
  mean: number | null;
  last: number | null;
} {
  let min = Infinity;
  let max = -Infinity;
  let sum = 0;
  let seen = 0;
  for (const [, value] of points) {
    if (!Number.isFinite(value)) continue;
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    seen += 1;
  }
  if (seen === 0) return { min: null, max: null, mean: null, last: null };
  return { min, max, mean: sum / seen, last: points.at(-1)?.[1] ?? null };
}
