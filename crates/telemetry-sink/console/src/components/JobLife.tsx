// A job's life from top to bottom: enqueued, each failure with its error, and how it stands.

import type { Job, JobFailure } from "../api/jobs";
import { clockTime, dateTime, fromNow } from "../format";
import { useNow } from "../hooks";
import { lifeOf, type Moment } from "../lib/job-life";

export function JobLife({ job, failures }: { job: Job; failures: readonly JobFailure[] }) {
  const now = useNow(1000);
  return (
    <ol class="life">
      {lifeOf(job, failures, now).map((moment) => (
        <LifeMoment key={moment.key} moment={moment} now={now} />
      ))}
    </ol>
  );
}

function LifeMoment({ moment, now }: { moment: Moment; now: number }) {
  return (
    <li class={`moment ${moment.tone}`} data-moment={moment.key}>
      <p class="moment-head">
        <b>{moment.title}</b>
        {moment.detail && <span class="muted">{moment.detail}</span>}
        {moment.atMs !== null && (
          <time dateTime={new Date(moment.atMs).toISOString()} title={dateTime(moment.atMs)}>
            {clockTime(moment.atMs)} <span class="muted">{fromNow(moment.atMs, now)}</span>
          </time>
        )}
      </p>
      {moment.error && (
        <pre class="block bad" tabIndex={0}>
          {moment.error}
        </pre>
      )}
    </li>
  );
}
