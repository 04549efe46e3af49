// What can be done to many jobs at once: to the ticked ones, or to all that the filter means, counted before.

import { useState } from "preact/hooks";
import { bulk, countJobs, WRITE_SCOPE, type BulkAction } from "../api/jobs";
import { dateTime } from "../format";
import { useResource } from "../hooks";
import { inSteps } from "../lib/bulk-run";
import { actionsOn, jobCount, narrowing, type JobFilter } from "../lib/job-filter";
import { ActionButton } from "./ActionButton";
import { useConfirm } from "./Confirm";
import type { Selection } from "./JobTable";

const VERBS: Readonly<Record<BulkAction, readonly [doing: string, done: string]>> = {
  redrive: ["Redrive", "put back into the queue"],
  delete: ["Delete", "deleted"],
  cancel: ["Cancel", "cancelled"],
};

interface BulkProps {
  readonly filter: JobFilter;
  readonly selection: Selection;
  readonly allowed: boolean | undefined;
  readonly changed: () => void;
}

export function BulkBar({ filter, selection, allowed, changed }: BulkProps) {
  const counted = useResource((signal) => countJobs(filter, signal), [filter], { everyMs: 5000 });
  const [dialog, ask] = useConfirm();
  const [said, say] = useState("");
  const chosen = selection.ids.size;
  const amount = chosen > 0 ? chosen : (counted.data?.count ?? 0);
  const capped = chosen === 0 && counted.data?.more === true;

  const start = (action: BulkAction): void => {
    const ids = [...selection.ids];
    const [doing, done] = VERBS[action];
    ask({
      title: `${doing} ${jobCount(amount, filter.state)}?`,
      text: <Consequence action={action} filter={filter} chosen={chosen} capped={capped} />,
      action: `${doing} ${amount.toLocaleString("en")}`,
      danger: action !== "redrive",
      run: async () => {
        const sum = await inSteps(
          amount,
          (limit) => bulk(action, ids.length > 0 ? { ...NO_CONDITIONS, state: filter.state } : filter, ids, limit),
          (sofar) => say(`${jobCount(sofar, filter.state)} ${done} so far`),
        );
        say(`${jobCount(sum, filter.state)} ${done}.`);
        selection.set(new Set());
        counted.reload();
        changed();
      },
    });
  };
  return (
    <div class="bulk" role="group" aria-label="Act on many jobs">
      <p class="bulk-what">
        {chosen > 0 ? (
          <>
            <b>{chosen} selected</b>{" "}
            <button type="button" class="link" onClick={() => selection.set(new Set())}>
              Clear
            </button>
          </>
        ) : (
          <>
            <b data-count={counted.data?.count}>
              {counted.data ? `${jobCount(counted.data.count, filter.state)}${capped ? " and more" : ""}` : "Counting…"}
            </b>{" "}
            {amount === 1 ? "matches" : "match"} this filter
          </>
        )}
      </p>
      <div class="bulk-actions">
        {actionsOn(filter.state).map((action) => (
          <ActionButton
            key={action}
            allowed={allowed}
            scope={WRITE_SCOPE}
            disabled={amount === 0}
            class={`small ${action === "redrive" ? "" : "danger-quiet"}`}
            onClick={() => start(action)}
          >
            {VERBS[action][0]} {chosen > 0 ? "selected" : "all"}
          </ActionButton>
        ))}
      </div>
      <p class="bulk-said" role="status">
        {said}
      </p>
      {dialog}
    </div>
  );
}

const NO_CONDITIONS = { kind: "", queue: "", error: "", from: "", before: "" };

const CONSEQUENCES: Readonly<Record<BulkAction, string>> = {
  redrive:
    "They go back into their queues with all their attempts and are due at once. What made them fail should be mended first.",
  delete: "They and their errors are forgotten for good. This cannot be undone.",
  cancel: "They end without having run. Jobs that a worker has begun meanwhile are left alone.",
};

interface ConsequenceProps {
  readonly action: BulkAction;
  readonly filter: JobFilter;
  readonly chosen: number;
  readonly capped: boolean;
}

function Consequence({ action, filter, chosen, capped }: ConsequenceProps) {
  const narrowed = narrowing(filter, (value) => dateTime(Date.parse(value)));
  return (
    <>
      {chosen > 0 && <p>The jobs you ticked on this page.</p>}
      {chosen === 0 && (narrowed === "" ? <p>Every one there is, in all queues.</p> : <p>All {narrowed}.</p>)}
      <p>{CONSEQUENCES[action]}</p>
      {capped && <p>There are more: this does the first of them, and can be repeated.</p>}
    </>
  );
}
