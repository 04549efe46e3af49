// One job: its life with every failure, its arguments, its trace and the log lines written while it ran.

import { cancelJob, failures, job as loadJob, redriveJob, WRITE_SCOPE, type Job, type JobFailure, type JobProgress } from "../api/jobs";
import { ActionButton, ReadOnly, useScope } from "../components/ActionButton";
import { Badge, Copy, Empty, Failure, KeyValues, Loading, Page, Panel, TraceLink } from "../components/basics";
import { useConfirm } from "../components/Confirm";
import { Icon } from "../components/Icon";
import { JobLife } from "../components/JobLife";
import { JobLogs } from "../components/JobLogs";
import { dateTime, latency, MISSING } from "../format";
import { useResource } from "../hooks";
import { jobsPath } from "../lib/job-filter";
import { progressText, stateTone } from "../lib/job-state";
import { jobPath, tracePath } from "../lib/routes";

const EVERY_MS = 2000;

interface Whole {
  readonly job: Job;
  readonly failures: readonly JobFailure[];
}

async function loadWhole(id: string, signal: AbortSignal): Promise<Whole> {
  const [job, failed] = await Promise.all([loadJob(id, signal), failures(id, signal)]);
  return { job, failures: failed };
}

export function JobScreen({ id }: { id: string }) {
  const { data, error, reload } = useResource((signal) => loadWhole(id, signal), [id], { everyMs: EVERY_MS });
  if (data) return <JobView whole={data} reload={reload} />;
  return (
    <Page title="Job">
      {!error && <Loading what="the job" />}
      {error && error.status !== 404 && <Failure error={error} retry={reload} />}
      {error?.status === 404 && (
        <Empty icon="jobs" title="There is no such job">
          Finished jobs are removed after their retention time. <a href="/jobs/search">Find jobs</a>
        </Empty>
      )}
    </Page>
  );
}

function JobView({ whole, reload }: { whole: Whole; reload: () => void }) {
  const { job } = whole;
  const allowed = useScope(WRITE_SCOPE);
  return (
    <Page title={job.kind} tools={<Tools job={job} allowed={allowed} reload={reload} />}>
      <div class="id-line">
        <span>
          <a href="/jobs">Jobs</a> / <code>{job.id}</code> <Copy text={job.id} label="job id" />
        </span>
      </div>
      <ReadOnly allowed={allowed} scope={WRITE_SCOPE} />
      <div class="job-page">
        <Panel title="Life">
          <JobLife job={job} failures={whole.failures} />
        </Panel>
        <div class="job-side">
          <Panel title="Facts">
            <Facts job={job} />
          </Panel>
          {job.progress && (
            <Panel title="Progress">
              <ProgressBar progress={job.progress} />
            </Panel>
          )}
          <Document title="Arguments" value={job.args ?? null} />
          {job.result !== undefined && <Document title="Result" value={job.result} />}
          {job.checkpoint !== undefined && <Document title="Checkpoint" value={job.checkpoint} />}
        </div>
      </div>
      <JobLogs job={job} />
    </Page>
  );
}

function Tools({ job, allowed, reload }: { job: Job; allowed: boolean | undefined; reload: () => void }) {
  const [dialog, ask] = useConfirm();
  const dead = job.state === "discarded" || job.state === "cancelled";
  const open = job.state === "blocked" || job.state === "ready" || job.state === "running";
  const redrive = (): void =>
    ask({
      title: "Redrive this job?",
      text: (
        <p>
          It goes back into the queue <code>{job.queue}</code> with all of its {job.maxAttempts} attempts and is due at
          once.
        </p>
      ),
      action: "Redrive",
      run: () => redriveJob(job.id).then(reload),
    });
  const cancel = (): void =>
    ask({
      title: "Cancel this job?",
      text:
        job.state === "running" ? (
          <p>
            Its worker is told to stop. If it ends well before it hears of it, it counts as completed; otherwise it is
            not tried again.
          </p>
        ) : (
          <p>It ends without being run again. It can be redriven later.</p>
        ),
      action: "Cancel the job",
      danger: true,
      run: async () => {
        await cancelJob(job.id);
        reload();
      },
    });
  return (
    <>
      <Badge tone={stateTone(job.state)}>{job.state}</Badge>
      {job.traceId && (
        <a class="button" href={tracePath(job.traceId)}>
          Open its trace
        </a>
      )}
      {dead && (
        <ActionButton allowed={allowed} scope={WRITE_SCOPE} class="primary" onClick={redrive}>
          <Icon name="refresh" size={14} /> Redrive
        </ActionButton>
      )}
      {open && (
        <ActionButton allowed={allowed} scope={WRITE_SCOPE} class="danger-quiet" onClick={cancel}>
          <Icon name="close" size={14} /> Cancel
        </ActionButton>
      )}
      {dialog}
    </>
  );
}

function Facts({ job }: { job: Job }) {
  return (
    <KeyValues
      pairs={[
        ["Queue", <a href={jobsPath({ queue: job.queue })}>{job.queue}</a>],
        ["Kind", <a href={jobsPath({ kind: job.kind })}>{job.kind}</a>],
        ...(job.memberOf === ""
          ? []
          : ([
              [job.memberOf.startsWith("wfl_") ? "Workflow" : "Batch", <a href={jobPath(job.memberOf)}>{job.memberOf}</a>],
            ] as const)),
        ["Attempt", `${job.attempt} of ${job.maxAttempts}`],
        ["Enqueued", dateTime(job.enqueuedMs)],
        ...(job.state === "ready" ? ([["Due", dateTime(job.runMs)]] as const) : []),
        ["Last run began", dateTime(job.startedMs)],
        ["Ended", dateTime(job.finishedMs)],
        ["From enqueue to end", took(job)],
        ["Trace", job.traceId ? <TraceLink id={job.traceId} label={job.traceId} /> : MISSING],
      ]}
    />
  );
}

function took(job: Job): string {
  if (job.finishedMs === null || job.enqueuedMs === null) return MISSING;
  return latency((job.finishedMs - job.enqueuedMs) * 1000);
}

function ProgressBar({ progress }: { progress: JobProgress }) {
  const label = progressText(progress);
  return (
    <>
      {progress.total !== null && progress.total > 0 && (
        <progress value={Math.min(progress.done, progress.total)} max={progress.total} aria-label={label} />
      )}
      <p>{label}</p>
    </>
  );
}

function Document({ title, value }: { title: string; value: unknown }) {
  const text = JSON.stringify(value, null, 2);
  return (
    <Panel title={title} note={<Copy text={text} label={title.toLowerCase()} />}>
      <pre class="block" tabIndex={0}>
        {text}
      </pre>
    </Panel>
  );
}
