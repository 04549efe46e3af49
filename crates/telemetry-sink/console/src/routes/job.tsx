// One job: state, attempts, arguments and its trace.

import { useState } from "preact/hooks";
import type { ApiError } from "../api/http";
import { job as loadJob, redrive, type Job } from "../api/jobs";
import { Badge, Copy, Empty, Failure, KeyValues, Loading, Page, Panel } from "../components/basics";
import { Icon } from "../components/Icon";
import { dateTime, latency, MISSING } from "../format";
import { asApiError, useResource } from "../hooks";
import { stateTone } from "../lib/job-state";
import { tracePath } from "../lib/routes";

export function JobScreen({ id }: { id: string }) {
  const { data, error, reload } = useResource((signal) => loadJob(id, signal), [id], { everyMs: 2000 });
  if (error && !data) {
    return (
      <Page title="Job">
        {error.status === 404 ? (
          <Empty icon="jobs" title="There is no such job">
            Finished jobs are removed after their retention time. <a href="/jobs">Recent jobs</a>
          </Empty>
        ) : (
          <Failure error={error} retry={reload} />
        )}
      </Page>
    );
  }
  if (!data) {
    return (
      <Page title="Job">
        <Loading what="the job" />
      </Page>
    );
  }
  return <JobView job={data} reload={reload} />;
}

function JobView({ job, reload }: { job: Job; reload: () => void }) {
  const [error, setError] = useState<ApiError | null>(null);
  const runAgain = async (): Promise<void> => {
    setError(null);
    try {
      await redrive(job.id);
      reload();
    } catch (cause) {
      setError(asApiError(cause));
    }
  };
  return (
    <Page
      title={job.kind}
      tools={
        <>
          <Badge tone={stateTone(job.state)}>{job.state}</Badge>
          {job.state === "discarded" && (
            <button type="button" class="button" onClick={() => void runAgain()}>
              <Icon name="refresh" size={14} /> Run again
            </button>
          )}
          {job.traceId && (
            <a class="button" href={tracePath(job.traceId)}>
              Open its trace
            </a>
          )}
        </>
      }
    >
      {error && <Failure error={error} />}
      <div class="id-line">
        <span>
          Job <code>{job.id}</code> <Copy text={job.id} label="job id" />
        </span>
      </div>
      <div class="grid-2">
        <Panel title="Life">
          <KeyValues
            pairs={[
              ["Queue", job.queue],
              ["Attempt", `${job.attempt} of ${job.maxAttempts}`],
              ["Enqueued", dateTime(job.enqueuedMs)],
              ["Due", dateTime(job.runMs)],
              ["Started", dateTime(job.startedMs)],
              ["Finished", dateTime(job.finishedMs)],
              ["From enqueue to finish", took(job)],
            ]}
          />
          {job.lastError && (
            <>
              <h3>Last error</h3>
              <pre class="block bad">{job.lastError}</pre>
            </>
          )}
        </Panel>
        <Panel title="Arguments">
          <pre class="block" tabIndex={0}>
            {JSON.stringify(job.args ?? null, null, 2)}
          </pre>
        </Panel>
      </div>
    </Page>
  );
}

function took(job: Job): string {
  if (job.finishedMs === null || job.enqueuedMs === null) return MISSING;
  return latency((job.finishedMs - job.enqueuedMs) * 1000);
}
