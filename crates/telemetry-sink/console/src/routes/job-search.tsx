// Finding jobs, page by page; and the dead letters, which are a search with something to be done about it.

import { useEffect, useState } from "preact/hooks";
import { searchJobs, WRITE_SCOPE, type JobPage } from "../api/jobs";
import { ReadOnly, useScope } from "../components/ActionButton";
import { BulkBar } from "../components/BulkBar";
import { Empty, Failure, Loading, Page, Panel } from "../components/basics";
import { Icon } from "../components/Icon";
import { JobFacets } from "../components/JobFacets";
import { JobFilters } from "../components/JobFilters";
import { JobTable, type Selection } from "../components/JobTable";
import { JobTabs } from "../components/JobTabs";
import { useResource, type Resource } from "../hooks";
import { actionsOn, filterOf, JOB_STATES, NO_FILTER, type JobFilter } from "../lib/job-filter";
import { href } from "../lib/routes";
import { usePlace, useQuery } from "../router";

const EVERY_MS = 3000;
const LIMIT = 50;
const DEAD = ["discarded", "cancelled"];

export function JobSearchScreen() {
  return (
    <Page title="Find jobs" tools={<JobTabs />}>
      <Search states={JOB_STATES} fallback="" />
    </Page>
  );
}

export function DeadLettersScreen() {
  return (
    <Page
      title="Dead letters"
      lead="Jobs whose attempts are used up or that can never succeed. Mend the cause, then put them back."
      tools={<JobTabs />}
    >
      <Search states={DEAD} fallback="discarded" />
    </Page>
  );
}

function Search({ states, fallback }: { states: readonly string[]; fallback: string }) {
  const [query, setQuery] = useQuery();
  const asked = filterOf(query);
  const filter = { ...asked, state: states.includes(asked.state) ? asked.state : fallback };
  const cursor = query.get("cursor") ?? "";
  const page = useResource((signal) => searchJobs(filter, cursor, LIMIT, signal), [filter, cursor], {
    everyMs: EVERY_MS,
  });
  const allowed = useScope(WRITE_SCOPE);
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set());
  // What was ticked is what was seen.
  useEffect(() => setIds(new Set()), [JSON.stringify(filter), cursor]);
  const selection: Selection | undefined = actionsOn(filter.state).length > 0 ? { ids, set: setIds } : undefined;
  return (
    <>
      <ReadOnly allowed={allowed} scope={WRITE_SCOPE} />
      <JobFilters filter={filter} states={states} change={(values) => setQuery({ ...values, cursor: "" })} />
      <Panel flush>
        {selection && (
          <BulkBar
            // A word about what was done belongs to the selection it was done to.
            key={JSON.stringify(filter)}
            filter={filter}
            selection={selection}
            allowed={allowed}
            changed={page.reload}
          />
        )}
        {page.data && <JobFacets jobs={page.data.jobs} choose={(values) => setQuery({ ...values, cursor: "" })} />}
        <Found page={page} filter={filter} fallback={fallback} selection={selection} cursor={cursor} />
      </Panel>
    </>
  );
}

interface FoundProps {
  readonly page: Resource<JobPage>;
  readonly filter: JobFilter;
  readonly fallback: string;
  readonly selection: Selection | undefined;
  readonly cursor: string;
}

function Found({ page, filter, fallback, selection, cursor }: FoundProps) {
  const { data, error, reload } = page;
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="jobs" />;
  return (
    <>
      {data.jobs.length === 0 && <NothingFound filter={filter} fallback={fallback} more={data.next !== null} />}
      {data.jobs.length > 0 && (
        <JobTable jobs={data.jobs} label="Jobs found, newest first" state={filter.state} selection={selection} />
      )}
      <Pager count={data.jobs.length} next={data.next} cursor={cursor} />
    </>
  );
}

function NothingFound({ filter, fallback, more }: { filter: JobFilter; fallback: string; more: boolean }) {
  if (more) {
    return (
      <Empty icon="search" title="None among the newest jobs">
        A search looks at 20,000 jobs at a time. Older ones have not been looked at yet.
      </Empty>
    );
  }
  const plain = JSON.stringify(filter) === JSON.stringify({ ...NO_FILTER, state: fallback });
  if (plain && fallback === "discarded") {
    return (
      <Empty icon="check" title="No dead letters">
        Every job that ended, ended well or is still being tried.
      </Empty>
    );
  }
  return (
    <Empty icon="jobs" title={plain ? "No job has been enqueued yet" : "No jobs match"}>
      {plain ? "Place an order in the shop: its receipt is sent by a job." : "Drop a part of the filter above."}
    </Empty>
  );
}

function Pager({ count, next, cursor }: { count: number; next: string | null; cursor: string }) {
  const { path, query } = usePlace();
  const to = (where: string): string => href(path, { ...Object.fromEntries(query), cursor: where });
  if (next === null && cursor === "") return null;
  return (
    <nav class="pager" aria-label="Pages of jobs">
      {cursor !== "" ? (
        <a class="button small" href={to("")}>
          Newest
        </a>
      ) : (
        <span />
      )}
      <span class="muted">{count} on this page</span>
      {next !== null ? (
        <a class="button small" href={to(next)} rel="next">
          Older <Icon name="right" size={14} />
        </a>
      ) : (
        <span class="muted">No older ones</span>
      )}
    </nav>
  );
}
