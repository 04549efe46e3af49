// One job's life as a list of moments, from what the queue and its failures say. Pure: the clock is given.

import type { Job, JobFailure } from "../api/jobs";
import { latency } from "../format";
import type { Tone } from "../components/basics";

export interface Moment {
  readonly key: string;
  readonly tone: Tone;
  readonly title: string;
  /** Null for what has no instant of its own. */
  readonly atMs: number | null;
  readonly detail: string;
  readonly error: string;
}

type Known = Pick<
  Job,
  "state" | "attempt" | "maxAttempts" | "enqueuedMs" | "runMs" | "startedMs" | "finishedMs" | "lastError"
>;

/** Oldest first. The last moment says what is, or what comes next. */
export function lifeOf(job: Known, failures: readonly JobFailure[], nowMs: number): Moment[] {
  const life: Moment[] = [
    { key: "enqueued", tone: "idle", title: "Enqueued", atMs: job.enqueuedMs, detail: "", error: "" },
  ];
  let before: JobFailure | null = null;
  for (const failure of failures) {
    if (before !== null && failure.attempt <= before.attempt) {
      life.push(moment(`redriven-${failure.startedMs}`, "busy", "Redriven", null, "with all its attempts"));
    }
    const dead = job.state === "discarded" && failure === failures.at(-1);
    life.push({
      key: `failed-${failure.startedMs}`,
      tone: dead ? "bad" : "warn",
      title: `Attempt ${failure.attempt} failed`,
      atMs: failure.endedMs,
      detail: [ran(failure.startedMs, failure.endedMs), failure.worker && `on ${failure.worker}`]
        .filter((part) => part !== "")
        .join(" "),
      error: failure.error,
    });
    before = failure;
  }
  if (before !== null && countsAnew(job, before)) {
    life.push(moment("redriven", "busy", "Redriven", null, "with all its attempts"));
  }
  life.push(...presentOf(job, failures, nowMs));
  return life;
}

/** A run counts from its beginning: one with the number of a failure before it comes after a redrive. */
function countsAnew(job: Known, last: JobFailure): boolean {
  const begun = job.state === "running" || job.state === "completed";
  return job.state !== "discarded" && (begun ? job.attempt <= last.attempt : job.attempt < last.attempt);
}

function presentOf(job: Known, failures: readonly JobFailure[], nowMs: number): Moment[] {
  switch (job.state) {
    case "ready": {
      const due = job.runMs !== null && job.runMs <= nowMs;
      const next = `Attempt ${job.attempt + 1} of ${job.maxAttempts}`;
      return due
        ? [moment("next", "idle", `${next} is due`, job.runMs, "waits for a worker")]
        : [moment("next", "idle", `${next} is planned`, job.runMs, "")];
    }
    case "blocked":
      return [moment("next", "idle", "Waits for other jobs", null, "of its workflow")];
    case "running":
      return [moment("now", "busy", `Attempt ${job.attempt} of ${job.maxAttempts} runs`, job.startedMs, "")];
    case "completed":
      return [
        moment("end", "good", `Attempt ${job.attempt} completed`, job.finishedMs, ran(job.startedMs, job.finishedMs)),
      ];
    case "discarded":
      return [
        {
          ...moment("end", "bad", "Dead letter", job.finishedMs, "not tried again by itself"),
          // Failures are forgotten before the job where their time is shorter; its last one stays with it.
          error: failures.length === 0 ? job.lastError : "",
        },
      ];
    case "cancelled":
      return [moment("end", "idle", job.attempt === 0 ? "Cancelled before it ran" : "Cancelled", job.finishedMs, "")];
    default:
      return [];
  }
}

function moment(key: string, tone: Tone, title: string, atMs: number | null, detail: string): Moment {
  return { key, tone, title, atMs, detail, error: "" };
}

function ran(startedMs: number | null, endedMs: number | null): string {
  if (startedMs === null || endedMs === null) return "";
  return `after ${latency(Math.max(0, endedMs - startedMs) * 1000)}`;
}
