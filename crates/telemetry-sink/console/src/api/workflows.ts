// Workflows and batches: jobs that wait for each other, and jobs that are counted together.

import { get, post } from "./http";
import { instant, text, whole, type Listed, type Wire } from "./wire";

const BASE = "/jobs/v1";

export interface WorkflowJob {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly level: number;
  readonly after: readonly { readonly name: string; readonly ignoreFailure: boolean }[];
}

export interface Workflow {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly jobs: number;
  readonly open: number;
  readonly failed: number;
  readonly enqueuedMs: number | null;
  readonly endedMs: number | null;
  readonly graph: readonly WorkflowJob[];
}

export interface Batch {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly jobs: number;
  readonly open: number;
  readonly completed: number;
  readonly discarded: number;
  readonly cancelled: number;
  readonly openedMs: number | null;
  readonly sealedMs: number | null;
  readonly endedMs: number | null;
  readonly callbacks: readonly Callback[];
}

/** A job that a batch enqueues itself. */
export interface Callback {
  readonly on: string;
  readonly job: string;
  readonly kind: string;
  readonly enqueuedMs: number | null;
}

const list = (wire: Wire, name: string): readonly Wire[] => {
  const value = wire[name];
  return Array.isArray(value) ? (value as Wire[]) : [];
};

export function readWorkflow(wire: Wire): Workflow {
  return {
    id: text(wire, "id"),
    name: text(wire, "name"),
    state: text(wire, "state"),
    jobs: whole(wire, "jobs"),
    open: whole(wire, "open"),
    failed: whole(wire, "failed"),
    enqueuedMs: instant(wire["enqueued_at"]),
    endedMs: instant(wire["ended_at"]),
    graph: list(wire, "graph").map((job) => ({
      id: text(job, "id"),
      name: text(job, "name"),
      kind: text(job, "kind"),
      state: text(job, "state"),
      level: whole(job, "level"),
      after: list(job, "after").map((edge) => ({
        name: text(edge, "name"),
        ignoreFailure: edge["ignore_failure"] === true,
      })),
    })),
  };
}

export function readBatch(wire: Wire): Batch {
  return {
    id: text(wire, "id"),
    name: text(wire, "name"),
    state: text(wire, "state"),
    jobs: whole(wire, "jobs"),
    open: whole(wire, "open"),
    completed: whole(wire, "completed"),
    discarded: whole(wire, "discarded"),
    cancelled: whole(wire, "cancelled"),
    openedMs: instant(wire["opened_at"]),
    sealedMs: instant(wire["sealed_at"]),
    endedMs: instant(wire["ended_at"]),
    callbacks: list(wire, "callbacks").map((callback) => ({
      on: text(callback, "on"),
      job: text(callback, "job"),
      kind: text(callback, "kind"),
      enqueuedMs: instant(callback["enqueued_at"]),
    })),
  };
}

/** The jobs of a graph by their levels, those that wait for nothing first. */
export function byLevel(graph: readonly WorkflowJob[]): readonly (readonly WorkflowJob[])[] {
  const levels: WorkflowJob[][] = [];
  for (const job of graph) (levels[job.level] ??= []).push(job);
  return Array.from(levels, (jobs) => jobs ?? []);
}

export async function workflow(id: string, signal?: AbortSignal): Promise<Workflow> {
  return readWorkflow(await get<Wire>(`${BASE}/workflows/${encodeURIComponent(id)}`, {}, signal));
}

export async function cancelWorkflow(id: string): Promise<void> {
  await post(`${BASE}/workflows/${encodeURIComponent(id)}/cancel`, undefined);
}

export async function cancelBatch(id: string): Promise<void> {
  await post(`${BASE}/batches/${encodeURIComponent(id)}/cancel`, undefined);
}

/** A batch and the newest of its jobs that failed. */
export async function batch(
  id: string,
  signal?: AbortSignal,
): Promise<{ readonly batch: Batch; readonly failed: readonly string[] }> {
  const path = `${BASE}/batches/${encodeURIComponent(id)}`;
  const dead = { member_of: id, state: "discarded", limit: 20 };
  const [found, failed] = await Promise.all([
    get<Wire>(path, {}, signal),
    get<Listed>(`${BASE}/jobs`, dead, signal),
  ]);
  return { batch: readBatch(found), failed: failed.data.map((job) => text(job, "id")) };
}
