// The queues: what waits and runs in them, how fast they go, and stopping and restarting them.

import { pauseQueue, queues, resumeQueue, WRITE_SCOPE, type Queue } from "../api/jobs";
import { queryRange } from "../api/prometheus";
import { ActionButton, ReadOnly, useScope } from "../components/ActionButton";
import { Badge, Empty, Failure, Loading, Page, Panel, Stat } from "../components/basics";
import { useConfirm, type Question } from "../components/Confirm";
import { Icon } from "../components/Icon";
import { JobTabs } from "../components/JobTabs";
import { PlotPanel } from "../components/PlotPanel";
import { RangePicker } from "../components/RangePicker";
import { Sparkline } from "../components/Sparkline";
import { age, ago, count, dateTime, MISSING } from "../format";
import { useNow, useResource } from "../hooks";
import { jobsPath } from "../lib/job-filter";
import { jobPlots } from "../lib/job-plots";
import { href } from "../lib/routes";
import { rangeEnding, rangeName } from "../lib/time-range";
import { useQuery } from "../router";

const EVERY_MS = 3000;

export function JobsScreen() {
  const { data, error, reload } = useResource(queues, [], { everyMs: EVERY_MS });
  const allowed = useScope(WRITE_SCOPE);
  return (
    <Page title="Jobs" tools={<JobTabs />}>
      <ReadOnly allowed={allowed} scope={WRITE_SCOPE} />
      {error && !data && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="the queues" />}
      {data && <Totals queues={data} />}
      {data && <Queues queues={data} allowed={allowed} reload={reload} />}
      <Charts queues={data ?? []} />
    </Page>
  );
}

function Totals({ queues: all }: { queues: readonly Queue[] }) {
  const sum = (pick: (queue: Queue) => number): number => all.reduce((total, queue) => total + pick(queue), 0);
  const dead = sum((queue) => queue.discarded);
  const paused = all.filter((queue) => queue.pausedMs !== null).length;
  const due = sum((queue) => queue.due);
  return (
    <dl class="stats">
      <Stat label="Running" value={count(sum((queue) => queue.running))} />
      <Stat label="Due" value={count(due)} />
      <Stat label="Planned for later" value={count(sum((queue) => queue.ready - queue.due))} />
      <Stat
        label="Oldest due"
        value={due > 0 ? age(Math.max(...all.map((queue) => queue.oldestDueSeconds))) : MISSING}
      />
      <Stat label="Dead letters" value={count(dead)} tone={dead > 0 ? "bad" : undefined} />
      <Stat label="Paused queues" value={count(paused)} tone={paused > 0 ? "warn" : undefined} />
    </dl>
  );
}

interface QueuesProps {
  readonly queues: readonly Queue[];
  readonly allowed: boolean | undefined;
  readonly reload: () => void;
}

function Queues({ queues: all, allowed, reload }: QueuesProps) {
  const [dialog, ask] = useConfirm();
  const ended = useResource(endedByQueue, [], { everyMs: 10_000 });
  return (
    <Panel title="Queues" flush>
      {all.length === 0 ? (
        <Empty icon="jobs" title="No queue has held a job yet">
          Place an order in the <a href="/shop">shop</a>: its receipt is sent by a job.
        </Empty>
      ) : (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Queues">
          <table class="table stack">
            <thead>
              <tr>
                <th scope="col">Queue</th>
                <th scope="col">State</th>
                {["Ended in 15 m", "Due", "Oldest due", "Later", "Running", "Dead letters"].map((name) => (
                  <th key={name} scope="col" class="num">
                    {name}
                  </th>
                ))}
                <th scope="col" class="num">
                  <span class="hidden-label">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {all.map((queue) => (
                <QueueRow
                  key={queue.name}
                  queue={queue}
                  ended={ended.data?.get(queue.name) ?? []}
                  allowed={allowed}
                  toggle={() => ask(pauseQuestion(queue, reload))}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {dialog}
    </Panel>
  );
}

function pauseQuestion(queue: Queue, reload: () => void): Question {
  const { name } = queue;
  if (queue.pausedMs !== null) {
    return {
      title: `Resume ${name}?`,
      text: <p>Workers on every node claim its jobs again: {count(queue.due)} are due now.</p>,
      action: "Resume",
      run: () => resumeQueue(name).then(reload),
    };
  }
  return {
    title: `Pause ${name}?`,
    text: (
      <>
        <p>
          No worker on any node begins a job of this queue until somebody resumes it, restarts included. New jobs are
          still enqueued and wait.
        </p>
        <p>{queue.running === 0 ? "None of its jobs runs now." : `The ${count(queue.running)} that run now go on.`}</p>
      </>
    ),
    action: "Pause",
    danger: true,
    run: () => pauseQueue(name).then(reload),
  };
}

const ENDED_STEP_S = 30;

/** How many runs ended in each queue in each half minute of the last quarter of an hour. */
async function endedByQueue(signal: AbortSignal): Promise<ReadonlyMap<string, readonly number[]>> {
  const query = `sum by (queue) (increase(quintet_jobs_finished_total[${ENDED_STEP_S}s]))`;
  const series = await queryRange(query, rangeEnding("15m", Date.now()), signal, ENDED_STEP_S);
  return new Map(series.map(({ labels, points }) => [labels["queue"] ?? "", points.map(([, value]) => value)]));
}

interface RowProps {
  readonly queue: Queue;
  readonly ended: readonly number[];
  readonly allowed: boolean | undefined;
  readonly toggle: () => void;
}

function QueueRow({ queue, ended, allowed, toggle }: RowProps) {
  const now = useNow(5000);
  const paused = queue.pausedMs !== null;
  const figure = (value: number, state: string): preact.ComponentChildren =>
    value === 0 ? "0" : <a href={jobsPath({ queue: queue.name, state })}>{count(value)}</a>;
  return (
    <tr data-queue={queue.name}>
      <th scope="row">
        <a href={jobsPath({ queue: queue.name })}>{queue.name}</a>
      </th>
      <td data-label="State">
        {paused ? (
          <span title={`Paused ${dateTime(queue.pausedMs)}`}>
            <Badge tone="warn">paused {ago(queue.pausedMs, now)}</Badge>
          </span>
        ) : (
          <Badge tone="good">open</Badge>
        )}
      </td>
      <td class="num" data-label="Ended in 15 m">
        <span class="queue-rate">
          <Sparkline values={ended} tone={0} />
          {count(Math.round(ended.reduce((sum, value) => sum + value, 0)))}
        </span>
      </td>
      <td class="num" data-label="Due">
        {figure(queue.due, "ready")}
      </td>
      <td class="num" data-label="Oldest due">
        {queue.due > 0 ? age(queue.oldestDueSeconds) : MISSING}
      </td>
      <td class="num" data-label="Later">
        {figure(queue.ready - queue.due, "ready")}
      </td>
      <td class="num" data-label="Running">
        {figure(queue.running, "running")}
      </td>
      <td class="num" data-label="Dead letters">
        {queue.discarded === 0 ? (
          "0"
        ) : (
          <a class="bad" href={href("/jobs/dead", { queue: queue.name })}>
            {count(queue.discarded)}
          </a>
        )}
      </td>
      <td class="num">
        <ActionButton
          allowed={allowed}
          scope={WRITE_SCOPE}
          class="small"
          label={`${paused ? "Resume" : "Pause"} ${queue.name}`}
          onClick={toggle}
        >
          <Icon name={paused ? "play" : "pause"} size={14} /> {paused ? "Resume" : "Pause"}
        </ActionButton>
      </td>
    </tr>
  );
}

function Charts({ queues: all }: { queues: readonly Queue[] }) {
  const [query, setQuery] = useQuery();
  const range = rangeName(query.get("range"), "15m");
  const queue = query.get("queue") ?? "";
  const names = new Set([...all.map(({ name }) => name), ...(queue ? [queue] : [])]);
  return (
    <section class="charts" aria-labelledby="throughput">
      <header class="section-head">
        <h2 id="throughput">Throughput and latency</h2>
        <div class="page-tools">
          <label class="inline-field">
            Queue
            <select value={queue} onChange={(event) => setQuery({ queue: event.currentTarget.value })}>
              <option value="">All</option>
              {[...names].map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          <RangePicker value={range} onChange={(name) => setQuery({ range: name })} />
        </div>
      </header>
      <div class="grid-2">
        {jobPlots(queue).map((plot) => (
          <PlotPanel key={plot.title} plot={plot} range={range} />
        ))}
      </div>
    </section>
  );
}
