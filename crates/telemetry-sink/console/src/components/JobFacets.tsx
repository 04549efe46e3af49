// What the jobs of a page have in common: their kinds and how their errors begin, each a step to a narrower search.

import type { Job } from "../api/jobs";
import { facetsOf } from "../lib/job-facets";

interface FacetsProps {
  readonly jobs: readonly Job[];
  readonly choose: (values: Readonly<Record<string, string>>) => void;
}

export function JobFacets({ jobs, choose }: FacetsProps) {
  const facets = facetsOf(jobs);
  if (facets.length === 0) return null;
  return (
    <div class="facets" role="group" aria-label="Narrow down">
      <span class="muted">On this page</span>
      {facets.map(({ name, value, count }) => (
        <button key={name + value} type="button" class="chip" onClick={() => choose({ [name]: value })}>
          {value} <b>{count}</b>
        </button>
      ))}
    </div>
  );
}
