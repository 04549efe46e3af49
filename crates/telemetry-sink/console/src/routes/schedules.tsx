// What the calendar enqueues: when it runs next, when it ran last, and running it now.

import { useState } from "preact/hooks";
import { runSchedule, schedules, WRITE_SCOPE, type Schedule } from "../api/jobs";
import { ActionButton, ReadOnly, useScope } from "../components/ActionButton";
import { Empty, Failure, Loading, Page } from "../components/basics";
import { useConfirm } from "../components/Confirm";
import { Icon } from "../components/Icon";
import { JobTabs } from "../components/JobTabs";
import { ago, dateTime, fromNow } from "../format";
import { useNow, useResource } from "../hooks";
import { jobsPath } from "../lib/job-filter";
import { jobPath } from "../lib/routes";

export function SchedulesScreen() {
  const { data, error, reload } = useResource(schedules, [], { everyMs: 5000 });
  const allowed = useScope(WRITE_SCOPE);
  return (
    <Page title="Schedules" lead="Jobs that the calendar enqueues, once in the whole fleet." tools={<JobTabs />}>
      <ReadOnly allowed={allowed} scope={WRITE_SCOPE} />
      {error && !data && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="the schedules" />}
      {data?.length === 0 && (
        <Empty icon="clock" title="No schedules are configured">
          Add <code>[[schedules]]</code> with a cron expression to the configuration of async-worker.
        </Empty>
      )}
      {data && data.length > 0 && (
        <ul class="schedules">
          {data.map((schedule) => (
            <li key={schedule.name}>
              <ScheduleCard schedule={schedule} allowed={allowed} reload={reload} />
            </li>
          ))}
        </ul>
      )}
    </Page>
  );
}

interface CardProps {
  readonly schedule: Schedule;
  readonly allowed: boolean | undefined;
  readonly reload: () => void;
}

function ScheduleCard({ schedule, allowed, reload }: CardProps) {
  const [dialog, ask] = useConfirm();
  const [started, setStarted] = useState("");
  const runNow = (): void =>
    ask({
      title: `Run ${schedule.name} now?`,
      text: (
        <p>
          One job of kind <code>{schedule.kind}</code> is enqueued into the queue <code>{schedule.queue}</code>, due at
          once. The regular runs stay as they are.
        </p>
      ),
      action: "Run now",
      run: async () => {
        setStarted(await runSchedule(schedule.name));
        reload();
      },
    });
  return (
    <article class="panel schedule" data-schedule={schedule.name}>
      <header class="panel-head">
        <h2>{schedule.name}</h2>
        <ActionButton
          allowed={allowed}
          scope={WRITE_SCOPE}
          class="small"
          label={`Run now: ${schedule.name}`}
          onClick={runNow}
        >
          <Icon name="play" size={14} /> Run now
        </ActionButton>
      </header>
      <div class="panel-body">
        <p class="cron">
          <code>{schedule.cron}</code> <span class="muted">{schedule.timeZone}</span>
        </p>
        <p class="muted">Next runs, in your own time zone</p>
        <NextRuns runs={schedule.nextRunsMs} />
        <Facts schedule={schedule} />
        <p role="status">
          {started && (
            <>
              Enqueued <a href={jobPath(started)}>{started}</a>.
            </>
          )}
        </p>
      </div>
      {dialog}
    </article>
  );
}

function NextRuns({ runs }: { runs: readonly number[] }) {
  const now = useNow(1000);
  if (runs.length === 0) return <p class="warn">It never runs again: no day fits its expression.</p>;
  return (
    <ol class="next-runs" aria-label="Next runs">
      {runs.map((run, at) => (
        <li key={run}>
          <time dateTime={new Date(run).toISOString()}>{dateTime(run)}</time>
          <span class={at === 0 ? "" : "muted"}>{fromNow(run, now)}</span>
        </li>
      ))}
    </ol>
  );
}

const MISSED: Readonly<Record<string, string>> = {
  skip: "left out",
  once: "made up for by one job",
};

function Facts({ schedule }: { schedule: Schedule }) {
  const now = useNow(5000);
  return (
    <dl class="facts">
      <div>
        <dt>Enqueues</dt>
        <dd>
          <a href={jobsPath({ kind: schedule.kind })}>{schedule.kind}</a> into{" "}
          <a href={jobsPath({ queue: schedule.queue })}>{schedule.queue}</a>
        </dd>
      </div>
      <div>
        <dt>Last run</dt>
        <dd title={dateTime(schedule.lastRunMs)}>
          {schedule.lastJob ? <a href={jobPath(schedule.lastJob)}>{ago(schedule.lastRunMs, now)}</a> : "not yet"}
        </dd>
      </div>
      <div>
        <dt>Missed runs</dt>
        <dd>{MISSED[schedule.missed] ?? schedule.missed}</dd>
      </div>
    </dl>
  );
}
