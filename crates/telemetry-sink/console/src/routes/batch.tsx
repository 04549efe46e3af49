// One batch: how its jobs ended, what it calls back, and the newest of its dead letters.

import { WRITE_SCOPE } from "../api/jobs";
import { batch as loadBatch, cancelBatch, type Batch, type Callback } from "../api/workflows";
import { ReadOnly, useScope } from "../components/ActionButton";
import { Copy, Empty, Failure, KeyValues, Loading, Page, Panel } from "../components/basics";
import { CancelGroup } from "../components/CancelGroup";
import { dateTime } from "../format";
import { useResource } from "../hooks";
import { jobPath } from "../lib/routes";

const EVERY_MS = 2000;

export function BatchScreen({ id }: { id: string }) {
  const { data, error, reload } = useResource((signal) => loadBatch(id, signal), [id], { everyMs: EVERY_MS });
  if (data) return <BatchView batch={data.batch} failed={data.failed} reload={reload} />;
  return (
    <Page title="Batch">
      {!error && <Loading what="the batch" />}
      {error && error.status !== 404 && <Failure error={error} retry={reload} />}
      {error?.status === 404 && (
        <Empty icon="jobs" title="There is no such batch">
          Batches are removed after their retention time. <a href="/jobs/search">Find jobs</a>
        </Empty>
      )}
    </Page>
  );
}

interface ViewProps {
  readonly batch: Batch;
  readonly failed: readonly string[];
  readonly reload: () => void;
}

function BatchView({ batch, failed, reload }: ViewProps) {
  const allowed = useScope(WRITE_SCOPE);
  const cancel = (): Promise<void> => cancelBatch(batch.id).then(reload);
  const tools = (
    <CancelGroup name="batch" state={batch.state} open={batch.open} allowed={allowed} cancel={cancel}>
      Those that wait will not run; the workers of those that run are told to stop. What it calls back comes when the last of
      them has ended.
    </CancelGroup>
  );
  return (
    <Page title={batch.name} tools={tools}>
      <div class="id-line">
        <span>
          <a href="/jobs">Jobs</a> / <code>{batch.id}</code> <Copy text={batch.id} label="batch id" />
        </span>
      </div>
      <ReadOnly allowed={allowed} scope={WRITE_SCOPE} />
      <Panel title="Facts">
        <KeyValues
          pairs={[
            ["Jobs", `${batch.jobs}`],
            ["Not ended", `${batch.open}`],
            ["Completed", `${batch.completed}`],
            ["Dead letters", `${batch.discarded}`],
            ["Cancelled", `${batch.cancelled}`],
            ["Opened", dateTime(batch.openedMs)],
            ["Sealed", dateTime(batch.sealedMs)],
            ["Ended", dateTime(batch.endedMs)],
          ]}
        />
      </Panel>
      {batch.callbacks.length > 0 && (
        <Panel title="Callbacks">
          <KeyValues pairs={batch.callbacks.map((callback) => [callback.on, <CallbackLine callback={callback} />])} />
        </Panel>
      )}
      {failed.length > 0 && (
        <Panel title="Dead letters">
          <ul>
            {failed.map((id) => (
              <li key={id}>
                <a href={jobPath(id)}>
                  <code>{id}</code>
                </a>
              </li>
            ))}
          </ul>
        </Panel>
      )}
    </Page>
  );
}

function CallbackLine({ callback }: { callback: Callback }) {
  if (callback.enqueuedMs === null) return <span class="muted">{callback.kind}, not due</span>;
  return (
    <span>
      <a href={jobPath(callback.job)}>{callback.kind}</a> at {dateTime(callback.enqueuedMs)}
    </span>
  );
}
