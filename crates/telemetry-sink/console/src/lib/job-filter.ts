// Which jobs a page shows, as it stands in a shareable URL, and how a person would say it.

import { href } from "./routes";

export const JOB_STATES = ["blocked", "ready", "running", "completed", "discarded", "cancelled"] as const;

/** Empty texts are not asked for; instants are RFC 3339. */
export interface JobFilter {
  readonly state: string;
  readonly kind: string;
  readonly queue: string;
  readonly error: string;
  readonly from: string;
  readonly before: string;
}

export const NO_FILTER: JobFilter = { state: "", kind: "", queue: "", error: "", from: "", before: "" };

export function filterOf(query: URLSearchParams): JobFilter {
  const state = query.get("state") ?? "";
  return {
    state: JOB_STATES.some((known) => known === state) ? state : "",
    kind: query.get("kind") ?? "",
    queue: query.get("queue") ?? "",
    error: query.get("error") ?? "",
    from: validInstant(query.get("from")),
    before: validInstant(query.get("before")),
  };
}

function validInstant(value: string | null): string {
  return value !== null && !Number.isNaN(Date.parse(value)) ? value : "";
}

export function jobsPath(filter: Partial<JobFilter>, cursor = ""): string {
  return href("/jobs/search", { ...filter, cursor });
}

/** Dead letters and cancelled jobs can be put back or forgotten, waiting ones can be cancelled. */
export function actionsOn(state: string): readonly ("redrive" | "delete" | "cancel")[] {
  if (state === "discarded" || state === "cancelled") return ["redrive", "delete"];
  return state === "ready" ? ["cancel"] : [];
}

const NAMES: Readonly<Record<string, readonly [one: string, many: string]>> = {
  ready: ["waiting job", "waiting jobs"],
  running: ["running job", "running jobs"],
  completed: ["completed job", "completed jobs"],
  discarded: ["dead letter", "dead letters"],
  cancelled: ["cancelled job", "cancelled jobs"],
};

/** `1 dead letter`, `412 waiting jobs`. */
export function jobCount(amount: number, state: string): string {
  const [one, many] = NAMES[state] ?? ["job", "jobs"];
  return `${amount.toLocaleString("en")} ${amount === 1 ? one : many}`;
}

/** What narrows the selection besides the state: `of kind email.send, whose error contains “timeout”`. */
export function narrowing(filter: JobFilter, instant: (value: string) => string): string {
  const parts = [
    filter.kind && `of kind ${filter.kind}`,
    filter.queue && `in the queue ${filter.queue}`,
    filter.error && `whose last error contains “${filter.error}”`,
    filter.from && `enqueued from ${instant(filter.from)}`,
    filter.before && `enqueued before ${instant(filter.before)}`,
  ];
  return parts.filter((part) => part !== "").join(", ");
}

/** The value of a `datetime-local` field, in local time, for an instant; and back. */
export function localField(instant: string): string {
  const at = Date.parse(instant);
  if (Number.isNaN(at)) return "";
  return new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function fromLocalField(field: string): string {
  const at = field === "" ? NaN : Date.parse(field);
  return Number.isNaN(at) ? "" : new Date(at).toISOString();
}
