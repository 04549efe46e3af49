// The worker's admin API: queues, jobs, schedules and limits.

import { get, post } from "./http";
import type { JobFilter } from "../lib/job-filter";
import { instant, text, whole, type Listed, type Wire } from "./wire";

const BASE = "/jobs/v1";

/** What changing the queue needs. */
export const WRITE_SCOPE = "jobs:write";

export interface Queue {
  readonly name: string;
  readonly ready: number;
  readonly due: number;
  readonly running: number;
  readonly discarded: number;
  readonly oldestDueSeconds: number;
  /** Since when it is paused, if it is. */
  readonly pausedMs: number | null;
}

export interface Job {
  readonly id: string;
  readonly kind: string;
  readonly queue: string;
  readonly state: string;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly enqueuedMs: number | null;
  readonly runMs: number | null;
  readonly startedMs: number | null;
  readonly finishedMs: number | null;
  readonly lastError: string;
  readonly traceId: string | null;
  /** The batch or the workflow that it is in; empty in none. */
  readonly memberOf: string;
  /** Only when one job is asked for: arguments may hold personal data. */
  readonly args: unknown;
  /** What its runs wrote down; undefined where they did not. */
  readonly result: unknown;
  readonly checkpoint: unknown;
  readonly progress: JobProgress | null;
}

/** How far a run is. */
export interface JobProgress {
  readonly done: number;
  /** What there is to do in all, if that is known. */
  readonly total: number | null;
  readonly message: string;
}

/** A run that failed. */
export interface JobFailure {
  readonly attempt: number;
  readonly startedMs: number | null;
  readonly endedMs: number | null;
  readonly worker: string;
  readonly error: string;
}

export interface Schedule {
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly kind: string;
  readonly queue: string;
  readonly missed: string;
  readonly nextRunsMs: readonly number[];
  readonly lastRunMs: number | null;
  readonly lastJob: string;
}

export function readQueue(wire: Wire): Queue {
  return {
    name: text(wire, "name"),
    ready: whole(wire, "ready"),
    due: whole(wire, "due"),
    running: whole(wire, "running"),
    discarded: whole(wire, "discarded"),
    oldestDueSeconds: whole(wire, "oldest_due_seconds"),
    pausedMs: instant(wire["paused_since"]),
  };
}

export function readJob(wire: Wire): Job {
  return {
    id: text(wire, "id"),
    kind: text(wire, "kind"),
    queue: text(wire, "queue"),
    state: text(wire, "state"),
    attempt: whole(wire, "attempt"),
    maxAttempts: whole(wire, "max_attempts"),
    enqueuedMs: instant(wire["enqueued_at"]),
    runMs: instant(wire["run_at"]),
    startedMs: instant(wire["started_at"]),
    finishedMs: instant(wire["finished_at"]),
    lastError: text(wire, "last_error"),
    traceId: text(wire, "trace_id") || null,
    memberOf: text(wire, "member_of"),
    args: wire["args"],
    result: wire["result"],
    checkpoint: wire["checkpoint"],
    progress: readProgress(wire["progress"]),
  };
}

function readProgress(value: unknown): JobProgress | null {
  if (typeof value !== "object" || value === null) return null;
  const wire = value as Wire;
  const total = wire["total"] === undefined ? null : whole(wire, "total");
  return { done: whole(wire, "done"), total, message: text(wire, "message") };
}

export function readSchedule(wire: Wire): Schedule {
  const runs = Array.isArray(wire["next_runs"]) ? wire["next_runs"] : [];
  return {
    name: text(wire, "name"),
    cron: text(wire, "cron"),
    timeZone: text(wire, "time_zone"),
    kind: text(wire, "kind"),
    queue: text(wire, "queue"),
    missed: text(wire, "missed"),
    nextRunsMs: runs.map(instant).filter((run) => run !== null),
    lastRunMs: instant(wire["last_run"]),
    lastJob: text(wire, "last_job"),
  };
}

function readFailure(wire: Wire): JobFailure {
  return {
    attempt: whole(wire, "attempt"),
    startedMs: instant(wire["started_at"]),
    endedMs: instant(wire["ended_at"]),
    worker: text(wire, "worker"),
    error: text(wire, "error"),
  };
}

/** How often runs may begin. */
export interface Rate {
  readonly runs: number;
  readonly perMs: number;
  readonly burst: number;
}

/** The limits of a kind or a queue, and what of them is in use. What is not limited is null. */
export interface Limit {
  readonly of: "kind" | "queue";
  readonly name: string;
  readonly perProcess: number | null;
  readonly overall: number | null;
  readonly perKey: number | null;
  readonly rate: Rate | null;
  readonly ratePerKey: Rate | null;
  readonly running: number;
  /** The partition keys with the most runs. */
  readonly keys: readonly { readonly key: string; readonly running: number }[];
}

const optional = (wire: Wire, key: string): number | null => (wire[key] === undefined ? null : whole(wire, key));

function readRate(value: unknown): Rate | null {
  if (typeof value !== "object" || value === null) return null;
  const wire = value as Wire;
  return { runs: whole(wire, "runs"), perMs: whole(wire, "per_ms"), burst: whole(wire, "burst") };
}

export function readLimit(of: Limit["of"], wire: Wire): Limit {
  const keys = Array.isArray(wire["keys"]) ? (wire["keys"] as readonly Wire[]) : [];
  return {
    of,
    name: text(wire, of),
    perProcess: optional(wire, "concurrency"),
    overall: optional(wire, "global_concurrency"),
    perKey: optional(wire, "concurrency_per_key"),
    rate: readRate(wire["rate"]),
    ratePerKey: readRate(wire["rate_per_key"]),
    running: whole(wire, "running"),
    keys: keys.map((key) => ({ key: text(key, "key"), running: whole(key, "running") })),
  };
}

const named = (collection: string, name: string, action = ""): string =>
  `${BASE}/${collection}/${encodeURIComponent(name)}${action}`;

export async function queues(signal?: AbortSignal): Promise<readonly Queue[]> {
  return (await get<Listed>(`${BASE}/queues`, {}, signal)).data.map(readQueue);
}

export async function pauseQueue(name: string): Promise<void> {
  await post(named("queues", name, "/pause"), undefined);
}

export async function resumeQueue(name: string): Promise<void> {
  await post(named("queues", name, "/resume"), undefined);
}

export interface JobPage {
  readonly jobs: readonly Job[];
  /** Where the next page begins; there may be one even after a page without jobs. */
  readonly next: string | null;
}

function conditions(filter: JobFilter): Record<string, string | undefined> {
  return {
    state: filter.state,
    kind: filter.kind,
    queue: filter.queue,
    error: filter.error,
    enqueued_from: filter.from,
    enqueued_before: filter.before,
  };
}

export async function searchJobs(
  filter: JobFilter,
  cursor: string,
  limit: number,
  signal?: AbortSignal,
): Promise<JobPage> {
  const page = await get<Listed & Wire>(`${BASE}/jobs`, { ...conditions(filter), cursor, limit }, signal);
  return { jobs: page.data.map(readJob), next: text(page, "next_cursor") || null };
}

export interface JobCount {
  readonly count: number;
  /** The count stopped at the most that one action changes. */
  readonly more: boolean;
}

/** How many jobs a bulk action on this selection would change. */
export async function countJobs(filter: JobFilter, signal?: AbortSignal): Promise<JobCount> {
  return get<JobCount>(`${BASE}/jobs/count`, conditions(filter), signal);
}

/** Limits with how many jobs wait for them. */
export interface LimitInUse {
  readonly limit: Limit;
  readonly waiting: JobCount;
}

export async function limits(signal?: AbortSignal): Promise<readonly LimitInUse[]> {
  const { data, queues: ofQueues } = await get<Listed & { readonly queues: readonly Wire[] }>(
    `${BASE}/limits`,
    {},
    signal,
  );
  const inUse = async (limit: Limit): Promise<LimitInUse> => {
    const waiting = await get<JobCount>(`${BASE}/jobs/count`, { state: "ready", [limit.of]: limit.name }, signal);
    return { limit, waiting };
  };
  const ofKinds = data.map((wire) => readLimit("kind", wire));
  return Promise.all([...ofKinds, ...ofQueues.map((wire) => readLimit("queue", wire))].map(inUse));
}

export async function job(id: string, signal?: AbortSignal): Promise<Job> {
  return readJob(await get<Wire>(named("jobs", id), {}, signal));
}

export async function failures(id: string, signal?: AbortSignal): Promise<readonly JobFailure[]> {
  return (await get<Listed>(named("jobs", id, "/failures"), {}, signal)).data.map(readFailure);
}

/** Puts a dead letter or a cancelled job back into its queue with all its attempts. */
export async function redriveJob(id: string): Promise<void> {
  await post(named("jobs", id, "/redrive"), undefined);
}

/** `cancelled`, or `cancelling` while its worker is being told. */
export async function cancelJob(id: string): Promise<string> {
  return text((await post<Wire>(named("jobs", id, "/cancel"), undefined)).body, "state");
}

export type BulkAction = "redrive" | "delete" | "cancel";

/** Does it to at most `limit` jobs: those named, or those that the filter means. */
export async function bulk(
  action: BulkAction,
  filter: JobFilter,
  ids: readonly string[],
  limit: number,
): Promise<{ readonly changed: number; readonly more: boolean }> {
  const given = Object.entries(conditions(filter)).filter(([, value]) => value);
  const body = { ...Object.fromEntries(given), ...(ids.length > 0 ? { ids } : {}), limit };
  return (await post<{ changed: number; more: boolean }>(`${BASE}/jobs/${action}`, body)).body;
}

export async function schedules(signal?: AbortSignal): Promise<readonly Schedule[]> {
  return (await get<Listed>(`${BASE}/schedules`, {}, signal)).data.map(readSchedule);
}

/** The id of the job it enqueued. */
export async function runSchedule(name: string): Promise<string> {
  return text((await post<Wire>(named("schedules", name, "/run"), undefined)).body, "id");
}
