// Single figures in three shapes: large text, an arc, bars.

import { inUnit, type Unit } from "../format";
import { Sparkline } from "./Sparkline";

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly text: string;
  readonly tone: "good" | "warn" | "bad" | undefined;
}

const MOST_TILES = 12;
const MOST_BARS = 30;

export function StatTiles({ figures, past }: { figures: readonly Figure[]; past: readonly number[] }) {
  return (
    <div class="stat-panel">
      <dl class="tiles">
        {figures.slice(0, MOST_TILES).map(({ name, text, tone }, at) => (
          <div key={`${at}${name}`}>
            {figures.length > 1 || name !== "value" ? <dt>{name === "{}" ? "" : name}</dt> : <dt class="hidden-label">Value</dt>}
            <dd class={tone ?? ""}>{text}</dd>
          </div>
        ))}
      </dl>
      {figures.length === 1 && past.length > 1 && <Sparkline values={past} tone={0} />}
    </div>
  );
}

interface GaugeProps {
  readonly figures: readonly Figure[];
  readonly min: number | null;
  readonly max: number | null;
  readonly unit: Unit;
}

const FULL: Readonly<Record<string, number>> = { ratio: 1, percent: 100 };
/** Half a circle of radius 40. */
const ARC = Math.PI * 40;

export function Gauge({ figures, min, max, unit }: GaugeProps) {
  const low = min ?? 0;
  const high = max ?? FULL[unit] ?? Math.max(low + 1, ...figures.map(({ value }) => value));
  return (
    <ul class="gauges">
      {figures.slice(0, MOST_TILES).map(({ name, value, text, tone }, at) => {
        const part = Math.max(0, Math.min(1, (value - low) / (high - low)));
        return (
          <li key={`${at}${name}`}>
            <svg viewBox="0 0 100 56" aria-hidden="true" focusable="false">
              <path class="gauge-track" d="M10 50A40 40 0 0190 50" />
              <path
                class={`gauge-value ${tone ?? ""}`}
                d="M10 50A40 40 0 0190 50"
                stroke-dasharray={`${Number.isFinite(part) ? part * ARC : 0} ${ARC}`}
              />
            </svg>
            <b class={tone ?? ""}>{text}</b>
            <span>{name === "{}" || name === "value" ? "" : name}</span>
            <small class="muted">
              {inUnit(low, unit)} to {inUnit(high, unit)}
            </small>
          </li>
        );
      })}
    </ul>
  );
}

export function Bars({ figures, max }: { figures: readonly Figure[]; max: number | null }) {
  const rows = [...figures].sort((left, right) => right.value - left.value).slice(0, MOST_BARS);
  const most = max ?? Math.max(1e-12, ...rows.map(({ value }) => value));
  return (
    <ul class="bars">
      {rows.map(({ name, value, text, tone }, at) => (
        <li key={`${at}${name}`}>
          <span>{name}</span>
          <i class={tone ?? ""} aria-hidden="true">
            <i style={{ width: `${Math.max(0, Math.min(1, value / most)) * 100}%` }} />
          </i>
          <b>{text}</b>
        </li>
      ))}
    </ul>
  );
}
