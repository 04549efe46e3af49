// Jobs as rows: what they are, how far they are, and what went wrong last. j and k move between them, x selects.

import { useEffect, useRef } from "preact/hooks";
import type { Job } from "../api/jobs";
import { dateTime, ago, fromNow, latency, MISSING } from "../format";
import { useNow } from "../hooks";
import { jobsPath } from "../lib/job-filter";
import { stateTone } from "../lib/job-state";
import { jobPath } from "../lib/routes";
import { Badge, TraceLink } from "./basics";

/** The chosen jobs, where rows can be chosen. */
export interface Selection {
  readonly ids: ReadonlySet<string>;
  readonly set: (ids: ReadonlySet<string>) => void;
}

interface TableProps {
  readonly jobs: readonly Job[];
  readonly label: string;
  /** The one state that all of them are in; then a column for it says nothing. */
  readonly state: string;
  readonly selection?: Selection | undefined;
}

export function JobTable({ jobs, label, state, selection }: TableProps) {
  const now = useNow(1000);
  const body = useRef<HTMLTableSectionElement>(null);
  useRowKeys(body);
  return (
    <div class="scroll-x" tabIndex={0} role="group" aria-label={label}>
      <table class="table rows job-table stack">
        <thead>
          <tr>
            {selection && (
              <th scope="col" class="pick">
                <PickAll jobs={jobs} selection={selection} />
              </th>
            )}
            <th scope="col">Job</th>
            {!state && <th scope="col">State</th>}
            <th scope="col">Queue</th>
            <th scope="col" class="num">
              Attempt
            </th>
            <th scope="col">Enqueued</th>
            <th scope="col">{state === "ready" ? "Due" : "Ran"}</th>
            <th scope="col">Last error</th>
            <th scope="col">Trace</th>
          </tr>
        </thead>
        <tbody ref={body}>
          {jobs.map((job) => (
            <JobRow key={job.id} job={job} now={now} withState={!state} selection={selection} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface RowProps {
  readonly job: Job;
  readonly now: number;
  readonly withState: boolean;
  readonly selection?: Selection | undefined;
}

function JobRow({ job, now, withState, selection }: RowProps) {
  const chosen = selection?.ids.has(job.id) ?? false;
  return (
    <tr class={chosen ? "chosen" : ""} data-job={job.id}>
      {selection && (
        <td class="pick">
          <input
            type="checkbox"
            checked={chosen}
            aria-label={`Select ${job.kind} ${job.id}`}
            onChange={() => selection.set(toggled(selection.ids, job.id))}
          />
        </td>
      )}
      <th scope="row">
        <a href={jobPath(job.id)} class="job-name">
          {job.kind} <small class="mono">{job.id}</small>
        </a>
      </th>
      {withState && (
        <td data-label="State">
          <Badge tone={stateTone(job.state)}>{job.state}</Badge>
        </td>
      )}
      <td data-label="Queue">
        <a class="quiet" href={jobsPath({ queue: job.queue })}>
          {job.queue}
        </a>
      </td>
      <td class="num" data-label="Attempt">
        {job.attempt} of {job.maxAttempts}
      </td>
      <td data-label="Enqueued" title={dateTime(job.enqueuedMs)}>
        {ago(job.enqueuedMs, now)}
      </td>
      <td data-label={job.state === "ready" ? "Due" : "Ran"}>{timing(job, now)}</td>
      <td class="job-error" data-label="Error">
        {job.lastError ? <span title={job.lastError}>{job.lastError}</span> : MISSING}
      </td>
      <td data-label="Trace">{job.traceId ? <TraceLink id={job.traceId} /> : MISSING}</td>
    </tr>
  );
}

/** How long it ran, has been running, or when it will. */
function timing(job: Job, now: number): string {
  if (job.state === "ready") {
    if (job.runMs === null) return MISSING;
    return job.runMs > now ? fromNow(job.runMs, now) : `due ${fromNow(job.runMs, now)}`;
  }
  if (job.startedMs === null) return MISSING;
  if (job.state === "running") return `for ${latency(Math.max(0, now - job.startedMs) * 1000)}`;
  return job.finishedMs === null ? MISSING : latency(Math.max(0, job.finishedMs - job.startedMs) * 1000);
}

function toggled(ids: ReadonlySet<string>, id: string): ReadonlySet<string> {
  const next = new Set(ids);
  if (!next.delete(id)) next.add(id);
  return next;
}

function PickAll({ jobs, selection }: { jobs: readonly Job[]; selection: Selection }) {
  const box = useRef<HTMLInputElement>(null);
  const here = jobs.filter((job) => selection.ids.has(job.id)).length;
  const all = here === jobs.length;
  useEffect(() => {
    if (box.current) box.current.indeterminate = here > 0 && !all;
  }, [here, all]);
  return (
    <input
      ref={box}
      type="checkbox"
      checked={all}
      aria-label="Select all jobs on this page"
      onChange={() => selection.set(new Set(all ? [] : jobs.map((job) => job.id)))}
    />
  );
}

/** j and k go to the next and the previous row's link, x ticks the row's box. Never while typing or in a dialog. */
function useRowKeys(body: { current: HTMLTableSectionElement | null }): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.metaKey || event.ctrlKey || event.altKey || !(event.target instanceof Element)) return;
      if (event.target.closest("dialog, select, textarea, input:not([type=checkbox])")) return;
      const rows = [...(body.current?.rows ?? [])];
      const here = rows.findIndex((row) => row.contains(document.activeElement));
      if (event.key === "x") rows[here]?.querySelector<HTMLInputElement>("input[type=checkbox]")?.click();
      const step = event.key === "j" ? 1 : event.key === "k" ? -1 : 0;
      if (step === 0) return;
      const next = here === -1 ? 0 : Math.min(rows.length - 1, Math.max(0, here + step));
      rows[next]?.querySelector<HTMLAnchorElement>("a.job-name")?.focus();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}
