// The limits of kinds and queues: how many of their jobs run of how many that may, how many wait, and whose they are.

import { limits as loadLimits, type Limit, type LimitInUse } from "../api/jobs";
import { Badge, Empty, Failure, Loading, Page } from "../components/basics";
import { JobTabs } from "../components/JobTabs";
import { useResource } from "../hooks";
import { jobsPath } from "../lib/job-filter";
import { isFull, rateText } from "../lib/limits";

const EVERY_MS = 2000;

export function LimitsScreen() {
  const { data, error, reload } = useResource(loadLimits, [], { everyMs: EVERY_MS });
  return (
    <Page title="Limits" lead="Kinds and queues of which not everything runs at once." tools={<JobTabs />}>
      {error && !data && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="the limits" />}
      {data?.length === 0 && (
        <Empty icon="jobs" title="Nothing has limits">
          Add <code>global_concurrency</code>, <code>concurrency_per_key</code> or <code>rate</code> to a{" "}
          <code>[[kinds]]</code> or a <code>[[queues]]</code> of the configuration of async-worker.
        </Empty>
      )}
      {data && data.length > 0 && (
        <ul class="limits">
          {data.map((inUse) => (
            <li key={`${inUse.limit.of} ${inUse.limit.name}`}>
              <LimitCard {...inUse} />
            </li>
          ))}
        </ul>
      )}
    </Page>
  );
}

function LimitCard({ limit, waiting }: LimitInUse) {
  return (
    <article class="panel" data-limit={limit.name}>
      <header class="panel-head">
        <h2>
          {limit.name} <span class="muted">{limit.of}</span>
        </h2>
        {isFull(limit) && <Badge tone="warn">full</Badge>}
      </header>
      <div class="panel-body">
        <dl class="facts">
          <div>
            <dt>Running</dt>
            <dd>
              <a href={jobsPath({ [limit.of]: limit.name, state: "running" })}>
                {limit.overall === null ? limit.running : `${limit.running} of ${limit.overall}`}
              </a>
              {limit.overall !== null && (
                <meter
                  class="used"
                  aria-label={`${limit.name}: places in use`}
                  max={limit.overall}
                  value={Math.min(limit.running, limit.overall)}
                />
              )}
            </dd>
          </div>
          <div>
            <dt>Waiting</dt>
            <dd>
              <a href={jobsPath({ [limit.of]: limit.name, state: "ready" })}>
                {waiting.count.toLocaleString("en")}
                {waiting.more && " and more"}
              </a>
            </dd>
          </div>
          {allowed(limit).map(([what, value]) => (
            <div key={what}>
              <dt>{what}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        {limit.keys.length > 0 && <Keys limit={limit} />}
      </div>
    </article>
  );
}

/** What is limited, in words, except what the meter shows. */
function allowed(limit: Limit): (readonly [string, string])[] {
  const rows: (readonly [string, string | null])[] = [
    ["In one process", limit.perProcess === null ? null : `${limit.perProcess} at once`],
    ["Of one partition key", limit.perKey === null ? null : `${limit.perKey} at once`],
    ["Begin", rateText(limit.rate)],
    ["Begin, of one partition key", rateText(limit.ratePerKey)],
  ];
  return rows.flatMap(([what, value]) => (value === null ? [] : [[what, value] as const]));
}

function Keys({ limit }: { limit: Limit }) {
  return (
    <table class="keys">
      <caption>Partition keys with the most runs</caption>
      <thead>
        <tr>
          <th scope="col">Key</th>
          <th scope="col" class="number">
            Running
          </th>
        </tr>
      </thead>
      <tbody>
        {limit.keys.map(({ key, running }) => (
          <tr key={key} data-key={key}>
            <td>
              <code>{key}</code>
            </td>
            <td class="number">{limit.perKey === null ? running : `${running} of ${limit.perKey}`}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
