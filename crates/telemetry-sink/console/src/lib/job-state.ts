// How the state of a job looks, and how far it is.

import type { JobProgress } from "../api/jobs";
import type { Tone } from "../components/basics";

const TONES: Readonly<Record<string, Tone>> = {
  blocked: "idle",
  ready: "idle",
  running: "busy",
  completed: "good",
  discarded: "bad",
  cancelled: "warn",
};

export function stateTone(state: string): Tone {
  return TONES[state] ?? "idle";
}

const GROUP_TONES: Readonly<Record<string, Tone>> = {
  open: "idle",
  running: "busy",
  succeeded: "good",
  failed: "bad",
};

/** How the state of a workflow or a batch looks. */
export function groupTone(state: string): Tone {
  return GROUP_TONES[state] ?? "idle";
}

/** "3 of 10 (30 %): reading files" */
export function progressText({ done, total, message }: JobProgress): string {
  const part = total === null ? `${done}` : `${done} of ${total}${total > 0 ? ` (${percent(done, total)} %)` : ""}`;
  return message === "" ? part : `${part}: ${message}`;
}

function percent(done: number, total: number): number {
  return Math.min(100, Math.floor((done / total) * 100));
}
