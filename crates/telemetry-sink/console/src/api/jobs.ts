// The worker's admin API: queues, jobs and, with the Maildir transport, the mails it delivered.

import { get, post } from "./http";

const BASE = "/jobs/v1";

export interface Queue {
  readonly name: string;
  readonly ready: number;
  readonly due: number;
  readonly running: number;
  readonly discarded: number;
  readonly oldestDueSeconds: number;
}

export const JOB_STATES = ["ready", "running", "completed", "discarded", "cancelled"] as const;

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
  /** Only when one job is asked for: arguments may hold personal data. */
  readonly args: unknown;
}

type Wire = Readonly<Record<string, unknown>>;

/** Milliseconds since the epoch of an RFC 3339 instant. */
export function instant(value: unknown): number | null {
  if (typeof value !== "string" || value === "") return null;
  const parsed = Date.parse(value);
  return Number.isNaN(parsed) ? null : parsed;
}

function text(wire: Wire, key: string): string {
  const value = wire[key];
  return typeof value === "string" ? value : "";
}

function whole(wire: Wire, key: string): number {
  const value = wire[key];
  return typeof value === "number" ? value : 0;
}

interface Answer {
  readonly data: readonly Wire[];
}

export function readQueue(wire: Wire): Queue {
  return {
    name: text(wire, "name"),
    ready: whole(wire, "ready"),
    due: whole(wire, "due"),
    running: whole(wire, "running"),
    discarded: whole(wire, "discarded"),
    oldestDueSeconds: whole(wire, "oldest_due_seconds"),
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
    args: wire["args"],
  };
}

export async function queues(signal?: AbortSignal): Promise<readonly Queue[]> {
  return (await get<Answer>(`${BASE}/queues`, {}, signal)).data.map(readQueue);
}

export async function jobs(state: string, limit: number, signal?: AbortSignal): Promise<readonly Job[]> {
  return (await get<Answer>(`${BASE}/jobs`, { state, limit }, signal)).data.map(readJob);
}

export async function job(id: string, signal?: AbortSignal): Promise<Job> {
  return readJob(await get<Wire>(`${BASE}/jobs/${encodeURIComponent(id)}`, {}, signal));
}

/** Puts a dead letter back into its queue with all its attempts. */
export async function redrive(id: string): Promise<void> {
  await post(`${BASE}/jobs/${encodeURIComponent(id)}/redrive`, undefined);
}

export interface MailHead {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly subject: string;
  readonly atMs: number | null;
}

export interface Mail extends MailHead {
  readonly messageId: string;
  readonly text: string;
  readonly html: string;
}

function readMailHead(wire: Wire): MailHead {
  return {
    id: text(wire, "id"),
    from: text(wire, "from"),
    to: text(wire, "to"),
    subject: text(wire, "subject"),
    atMs: instant(wire["date"]),
  };
}

export async function mails(signal?: AbortSignal): Promise<readonly MailHead[]> {
  return (await get<Answer>(`${BASE}/mail`, {}, signal)).data.map(readMailHead);
}

export async function mail(id: string, signal?: AbortSignal): Promise<Mail> {
  const wire = await get<Wire>(`${BASE}/mail/${encodeURIComponent(id)}`, {}, signal);
  return {
    ...readMailHead(wire),
    messageId: text(wire, "message_id"),
    text: text(wire, "text"),
    html: text(wire, "html"),
  };
}
