// The filter of a job search: what stands in the address bar, as a form.

import { useEffect, useState } from "preact/hooks";
import { labelValues } from "../api/prometheus";
import { queues } from "../api/jobs";
import { useDebounced, useResource } from "../hooks";
import { fromLocalField, JOB_STATES, localField, type JobFilter } from "../lib/job-filter";

interface FilterProps {
  readonly filter: JobFilter;
  readonly states: readonly string[];
  readonly change: (values: Readonly<Record<string, string>>) => void;
}

export function JobFilters({ filter, states, change }: FilterProps) {
  const known = useResource(queues, []);
  // Kinds are no list of the queue's; those that were seen at work are in the metrics.
  const kinds = useResource((signal) => labelValues("kind", "quintet_jobs_finished_total", signal), []);
  const names = new Set([...(known.data ?? []).map(({ name }) => name), ...(filter.queue ? [filter.queue] : [])]);
  return (
    <form class="filters job-filters" role="search" aria-label="Jobs" onSubmit={(event) => event.preventDefault()}>
      <label>
        State
        <select name="state" value={filter.state} onChange={(event) => change({ state: event.currentTarget.value })}>
          {states.length === JOB_STATES.length && <option value="">Any state</option>}
          {states.map((state) => (
            <option key={state} value={state}>
              {state}
            </option>
          ))}
        </select>
      </label>
      <label>
        Queue
        <select name="queue" value={filter.queue} onChange={(event) => change({ queue: event.currentTarget.value })}>
          <option value="">Every queue</option>
          {[...names].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <TextFilter label="Kind" name="kind" value={filter.kind} change={change} suggestions={kinds.data ?? []} />
      <TextFilter label="Last error contains" name="error" value={filter.error} change={change} />
      <InstantFilter label="Enqueued from" name="from" value={filter.from} change={change} />
      <InstantFilter label="Enqueued before" name="before" value={filter.before} change={change} />
    </form>
  );
}

interface FieldProps {
  readonly label: string;
  readonly name: string;
  readonly value: string;
  readonly change: FilterProps["change"];
}

function TextFilter({ label, name, value, change, suggestions }: FieldProps & { suggestions?: readonly string[] }) {
  const [typed, setTyped] = useState(value);
  const settled = useDebounced(typed, 300);
  useEffect(() => {
    if (settled !== value) change({ [name]: settled });
  }, [settled]);
  useEffect(() => setTyped(value), [value]);
  return (
    <label class="grow">
      {label}
      <input
        type="search"
        name={name}
        value={typed}
        spellcheck={false}
        autoComplete="off"
        list={suggestions ? `known-${name}` : undefined}
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
      {suggestions && (
        <datalist id={`known-${name}`}>
          {suggestions.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
    </label>
  );
}

function InstantFilter({ label, name, value, change }: FieldProps) {
  return (
    <label>
      {label}
      <input
        type="datetime-local"
        name={name}
        value={localField(value)}
        onChange={(event) => change({ [name]: fromLocalField(event.currentTarget.value) })}
      />
    </label>
  );
}
