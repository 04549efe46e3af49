// How the state of a job looks.

import type { Tone } from "../components/basics";

const TONES: Readonly<Record<string, Tone>> = {
  ready: "idle",
  running: "busy",
  completed: "good",
  discarded: "bad",
  cancelled: "warn",
};

export function stateTone(state: string): Tone {
  return TONES[state] ?? "idle";
}
