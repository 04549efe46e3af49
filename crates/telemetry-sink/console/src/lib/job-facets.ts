// What tells the jobs of a page apart.

import type { Job } from "../api/jobs";

export interface Facet {
  /** The part of the filter that it sets. */
  readonly name: "kind" | "queue" | "error";
  readonly value: string;
  readonly count: number;
}

const MOST = 5;
const ERROR_START = 48;

/** Of each part of the filter the commonest values, where there is more than one. */
export function facetsOf(jobs: readonly Pick<Job, "kind" | "queue" | "lastError">[]): Facet[] {
  const errors = jobs.map((job) => errorStart(job.lastError)).filter((error) => error !== "");
  return [
    ...tally(
      "queue",
      jobs.map((job) => job.queue),
    ),
    ...tally(
      "kind",
      jobs.map((job) => job.kind),
    ),
    ...tally("error", errors),
  ];
}

/** Errors of one cause differ in what they quote: they are taken for one as far as the first colon or digit. */
function errorStart(error: string): string {
  const line = error.slice(0, ERROR_START).split("\n", 1)[0] ?? "";
  return /^[^:\d]{4,}/.exec(line)?.[0].trim() ?? line.trim();
}

function tally(name: Facet["name"], values: readonly string[]): Facet[] {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  if (counts.size < 2) return [];
  return [...counts]
    .map(([value, count]) => ({ name, value, count }))
    .sort((left, right) => right.count - left.count || (left.value < right.value ? -1 : 1))
    .slice(0, MOST);
}
