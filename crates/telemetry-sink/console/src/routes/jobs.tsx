// Queues and their recent jobs.

import { JOB_STATES, jobs, queues, type Job, type Queue } from "../api/jobs";
import { Badge, Empty, Failure, Loading, Page, Panel, TraceLink } from "../components/basics";
import { age, ago, count, dateTime, MISSING } from "../format";
import { useNow, useResource } from "../hooks";
import { stateTone } from "../lib/job-state";
import { jobPath } from "../lib/routes";
import { useQuery } from "../router";

const EVERY_MS = 3000;
const LIMIT = 100;

export function JobsScreen() {
  return (
    <Page title="Jobs">
      <Queues />
      <Recent />
    </Page>
  );
}

function Queues() {
  const { data, error, reload } = useResource(queues, [], { everyMs: EVERY_MS });
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="the queues" />;
  return (
    <Panel title="Queues" flush>
      {data.length === 0 ? (
        <Empty icon="jobs" title="No queue has held a job yet">
          Place an order in the <a href="/shop">shop</a>: its receipt is sent by a job.
        </Empty>
      ) : (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Queues">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Queue</th>
                <th scope="col" class="num">
                  Waiting
                </th>
                <th scope="col" class="num">
                  Of these due
                </th>
                <th scope="col" class="num">
                  Running
                </th>
                <th scope="col" class="num">
                  Dead letters
                </th>
                <th scope="col" class="num">
                  Oldest due
                </th>
              </tr>
            </thead>
            <tbody>
              {data.map((queue) => (
                <QueueRow key={queue.name} queue={queue} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

function QueueRow({ queue }: { queue: Queue }) {
  return (
    <tr>
      <th scope="row">{queue.name}</th>
      <td class="num">{count(queue.ready)}</td>
      <td class="num">{count(queue.due)}</td>
      <td class="num">{count(queue.running)}</td>
      <td class={`num ${queue.discarded > 0 ? "bad" : ""}`}>{count(queue.discarded)}</td>
      <td class="num">{queue.due > 0 ? age(queue.oldestDueSeconds) : MISSING}</td>
    </tr>
  );
}

function Recent() {
  const [query, setQuery] = useQuery();
  const filter = { state: query.get("state") ?? "", kind: query.get("kind") ?? "" };
  const { data, error, reload } = useResource((signal) => jobs(filter.state, LIMIT, signal), [filter.state], {
    everyMs: EVERY_MS,
  });
  const shown = data?.filter((job) => filter.kind === "" || job.kind === filter.kind);
  return (
    <Panel
      title="Recent jobs"
      note={
        <span class="inline-filters">
          <label>
            State{" "}
            <select value={filter.state} onChange={(event) => setQuery({ state: event.currentTarget.value })}>
              <option value="">any</option>
              {JOB_STATES.map((state) => (
                <option key={state}>{state}</option>
              ))}
            </select>
          </label>
          <label>
            Kind{" "}
            <select value={filter.kind} onChange={(event) => setQuery({ kind: event.currentTarget.value })}>
              <option value="">any</option>
              {kinds(data ?? [], filter.kind).map((kind) => (
                <option key={kind}>{kind}</option>
              ))}
            </select>
          </label>
        </span>
      }
      flush
    >
      {error && !data && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="jobs" />}
      {shown?.length === 0 && <Empty icon="jobs" title="No jobs match" />}
      {shown && shown.length > 0 && <JobTable jobs={shown} />}
    </Panel>
  );
}

function kinds(list: readonly Job[], chosen: string): string[] {
  return [...new Set([...list.map((job) => job.kind), ...(chosen ? [chosen] : [])])].sort();
}

function JobTable({ jobs: rows }: { jobs: readonly Job[] }) {
  const now = useNow(1000);
  return (
    <div class="scroll-x" tabIndex={0} role="group" aria-label="Recent jobs, newest first">
      <table class="table rows">
        <thead>
          <tr>
            <th scope="col">Job</th>
            <th scope="col">Kind</th>
            <th scope="col">State</th>
            <th scope="col">Queue</th>
            <th scope="col" class="num">
              Attempt
            </th>
            <th scope="col">Enqueued</th>
            <th scope="col">Trace</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((job) => (
            <tr key={job.id}>
              <th scope="row">
                <a class="mono" href={jobPath(job.id)}>
                  {job.id}
                </a>
              </th>
              <td>{job.kind}</td>
              <td>
                <Badge tone={stateTone(job.state)}>{job.state}</Badge>
              </td>
              <td>{job.queue}</td>
              <td class="num">
                {job.attempt} of {job.maxAttempts}
              </td>
              <td title={dateTime(job.enqueuedMs)}>{ago(job.enqueuedMs, now)}</td>
              <td>{job.traceId ? <TraceLink id={job.traceId} /> : MISSING}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
