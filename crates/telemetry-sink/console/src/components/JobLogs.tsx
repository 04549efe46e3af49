// The log lines of a job's trace: of the request that enqueued it, and of its runs.

import { queryLogs } from "../api/loki";
import type { Job } from "../api/jobs";
import { useResource } from "../hooks";
import { LEVEL_LABEL, SERVICE_LABEL } from "../lib/log-labels";
import { logQuery } from "../lib/logql";
import { href } from "../lib/routes";
import { rangeCovering } from "../lib/time-range";
import { Empty, Failure, Loading, Panel } from "./basics";
import { LogTable } from "./LogTable";

const LINES = 200;
const MARGIN_MS = 60_000;

export function JobLogs({ job }: { job: Job }) {
  return (
    <Panel title="Logs" note={<LogLinks job={job} />} flush>
      {job.traceId ? (
        <TraceLines job={job} traceId={job.traceId} />
      ) : (
        <Empty icon="logs" title="No request enqueued this job">
          A job of the calendar continues no trace. The worker's lines are under{" "}
          <a href={href("/logs", { service: "async-worker", range: rangeOf(job) })}>Logs</a>.
        </Empty>
      )}
    </Panel>
  );
}

function rangeOf(job: Job): string {
  return rangeCovering(Date.now() - (job.enqueuedMs ?? Date.now()) + MARGIN_MS);
}

function useLines(job: Job, traceId: string) {
  const filter = { service: "", level: "", text: "", requestId: "", traceId };
  const ended = job.finishedMs ?? 0;
  return useResource(
    (signal) =>
      queryLogs(
        logQuery(filter, SERVICE_LABEL, LEVEL_LABEL),
        {
          startMs: (job.enqueuedMs ?? Date.now()) - MARGIN_MS,
          endMs: job.finishedMs === null ? Date.now() : ended + MARGIN_MS,
        },
        LINES,
        signal,
      ),
    [traceId, job.finishedMs],
    { everyMs: 5000 },
  );
}

function LogLinks({ job }: { job: Job }) {
  if (!job.traceId) return null;
  return <a href={href("/logs", { trace: job.traceId, range: rangeOf(job) })}>Open in Logs</a>;
}

function TraceLines({ job, traceId }: { job: Job; traceId: string }) {
  const { data, error, reload } = useLines(job, traceId);
  const requestId = data?.find((line) => line.requestId !== null)?.requestId ?? null;
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="its log lines" />;
  if (data.length === 0) {
    return (
      <Empty icon="logs" title="No log lines carry its trace (yet)">
        Lines are searchable within a few seconds of being written.
      </Empty>
    );
  }
  return (
    <>
      {requestId && (
        <p class="pad log-origin">
          Enqueued by request{" "}
          <a class="mono" href={href("/logs", { request: requestId, range: rangeOf(job) })} data-request={requestId}>
            {requestId}
          </a>
        </p>
      )}
      <LogTable lines={[...data].reverse()} hideTrace />
    </>
  );
}
