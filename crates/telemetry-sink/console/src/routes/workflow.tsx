// One workflow: its jobs level by level, each with its state and what it waits for. A list and not a picture, so that it can
// be read aloud and searched.

import { WRITE_SCOPE } from "../api/jobs";
import { byLevel, cancelWorkflow, workflow as loadWorkflow, type Workflow, type WorkflowJob } from "../api/workflows";
import { ReadOnly, useScope } from "../components/ActionButton";
import { Badge, Copy, Empty, Failure, KeyValues, Loading, Page, Panel } from "../components/basics";
import { CancelGroup } from "../components/CancelGroup";
import { dateTime } from "../format";
import { useResource } from "../hooks";
import { stateTone } from "../lib/job-state";
import { jobPath } from "../lib/routes";

const EVERY_MS = 2000;

export function WorkflowScreen({ id }: { id: string }) {
  const { data, error, reload } = useResource((signal) => loadWorkflow(id, signal), [id], { everyMs: EVERY_MS });
  if (data) return <WorkflowView workflow={data} reload={reload} />;
  return (
    <Page title="Workflow">
      {!error && <Loading what="the workflow" />}
      {error && error.status !== 404 && <Failure error={error} retry={reload} />}
      {error?.status === 404 && (
        <Empty icon="jobs" title="There is no such workflow">
          Workflows are removed after their retention time. <a href="/jobs/search">Find jobs</a>
        </Empty>
      )}
    </Page>
  );
}

function WorkflowView({ workflow, reload }: { workflow: Workflow; reload: () => void }) {
  const allowed = useScope(WRITE_SCOPE);
  const cancel = (): Promise<void> => cancelWorkflow(workflow.id).then(reload);
  const tools = (
    <CancelGroup name="workflow" state={workflow.state} open={workflow.open} allowed={allowed} cancel={cancel}>
      Those that wait will not run; the workers of those that run are told to stop. Each can be redriven later.
    </CancelGroup>
  );
  return (
    <Page title={workflow.name} tools={tools}>
      <div class="id-line">
        <span>
          <a href="/jobs">Jobs</a> / <code>{workflow.id}</code> <Copy text={workflow.id} label="workflow id" />
        </span>
      </div>
      <ReadOnly allowed={allowed} scope={WRITE_SCOPE} />
      <Panel title="Facts">
        <KeyValues
          pairs={[
            ["Jobs", `${workflow.jobs}, of which ${workflow.open} have not ended and ${workflow.failed} failed`],
            ["Enqueued", dateTime(workflow.enqueuedMs)],
            ["Ended", dateTime(workflow.endedMs)],
          ]}
        />
      </Panel>
      {byLevel(workflow.graph).map((jobs, level) => (
        <Panel key={level} title={level === 0 ? "First" : `Then, level ${level}`}>
          <ol class="life">
            {jobs.map((job) => (
              <Step key={job.id} job={job} />
            ))}
          </ol>
        </Panel>
      ))}
    </Page>
  );
}

function Step({ job }: { job: WorkflowJob }) {
  const after = job.after.map((edge) => (edge.ignoreFailure ? `${edge.name} (may fail)` : edge.name));
  return (
    <li class={`moment ${stateTone(job.state)}`} data-job={job.name}>
      <p class="moment-head">
        <a href={jobPath(job.id)}>
          <b>{job.name}</b>
        </a>
        <Badge tone={stateTone(job.state)}>{job.state}</Badge>
        <span class="muted">
          {job.kind}
          {after.length > 0 && `, after ${after.join(", ")}`}
        </span>
      </p>
    </li>
  );
}
