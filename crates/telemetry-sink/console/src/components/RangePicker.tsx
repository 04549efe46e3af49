import { RANGES, type RangeName } from "../lib/time-range";

export function RangePicker({ value, onChange }: { value: RangeName | null; onChange: (name: RangeName) => void }) {
  return (
    <fieldset class="segments">
      <legend class="hidden-label">Time range</legend>
      {RANGES.map((name) => (
        <label key={name} class={name === value ? "on" : ""}>
          <input type="radio" name="range" value={name} checked={name === value} onChange={() => onChange(name)} />
          {name}
        </label>
      ))}
    </fieldset>
  );
}
