// The range of a screen: a name that ends now, or two instants that a person chose or dragged.

import { useState } from "preact/hooks";
import { dateTime } from "../format";
import { fromLocalField, localField } from "../lib/job-filter";
import { periodQuery, rangeOf, shifted, type Period, type Range } from "../lib/time-range";
import { Icon } from "./Icon";
import { RangePicker } from "./RangePicker";

interface PickerProps {
  readonly period: Period;
  readonly setQuery: (change: Readonly<Record<string, string>>) => void;
}

export function PeriodPicker({ period, setQuery }: PickerProps) {
  const [open, setOpen] = useState(false);
  const fix = (fixed: Range): void => setQuery(periodQuery({ fixed }));
  const move = (part: number, grow = 1): void => {
    const now = Date.now();
    const next = shifted(rangeOf(period, now), part, grow);
    fix(next.endMs > now ? { startMs: next.startMs - (next.endMs - now), endMs: now } : next);
  };
  return (
    <div class="period">
      {period.fixed && (
        <span class="period-fixed">
          <span>
            {dateTime(period.fixed.startMs)} to {dateTime(period.fixed.endMs).slice(11)}
          </span>
          <button
            type="button"
            class="button icon-only"
            aria-label="Back to a range that ends now"
            title="Back to a range that ends now"
            onClick={() => setQuery(periodQuery({ fixed: null }))}
          >
            <Icon name="close" size={12} />
          </button>
        </span>
      )}
      <div class="segments period-steps" role="group" aria-label="Move the range">
        <button type="button" aria-label="Earlier" title="Earlier" onClick={() => move(-0.5)}>
          <Icon name="left" size={14} />
        </button>
        <button type="button" aria-label="Later" title="Later" disabled={!period.fixed} onClick={() => move(0.5)}>
          <Icon name="right" size={14} />
        </button>
        <button type="button" aria-label="Zoom out" title="Zoom out" onClick={() => move(0, 2)}>
          <Icon name="zoomOut" size={14} />
        </button>
        <button type="button" aria-expanded={open} title="Choose two instants" onClick={() => setOpen(!open)}>
          <Icon name="clock" size={14} /> <span class="hidden-label">From and to</span>
        </button>
      </div>
      <RangePicker
        value={period.fixed ? null : period.name}
        onChange={(name) => setQuery({ ...periodQuery({ fixed: null }), range: name })}
      />
      {open && (
        <Instants
          range={rangeOf(period, Date.now())}
          done={(range) => {
            setOpen(false);
            if (range) fix(range);
          }}
        />
      )}
    </div>
  );
}

function Instants({ range, done }: { range: Range; done: (range: Range | null) => void }) {
  const [from, setFrom] = useState(localField(new Date(range.startMs).toISOString()));
  const [to, setTo] = useState(localField(new Date(range.endMs).toISOString()));
  const [startMs, endMs] = [Date.parse(fromLocalField(from)), Date.parse(fromLocalField(to))];
  const valid = startMs < endMs;
  return (
    <form
      class="period-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (valid) done({ startMs, endMs });
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") done(null);
      }}
    >
      <label>
        From
        <input type="datetime-local" value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
      </label>
      <label>
        To
        <input type="datetime-local" value={to} onInput={(event) => setTo(event.currentTarget.value)} />
      </label>
      <button type="submit" class="button primary" disabled={!valid}>
        Show
      </button>
    </form>
  );
}
