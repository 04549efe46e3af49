// Colour slots. The five have fixed ones, so that a service looks the same on every screen.

const FIXED: Readonly<Record<string, number>> = {
  "edge-gateway": 0,
  "core-api": 1,
  "async-worker": 2,
  "identity-provider": 3,
  "telemetry-sink": 4,
};

/** How a run of a job ended: on every chart in the same colour, the bad end in a warm one. */
const OUTCOMES: Readonly<Record<string, number>> = { completed: 5, retried: 2, snoozed: 6, discarded: 4, cancelled: 7 };

export const TONES = 8;

export function serviceTone(name: string): number {
  const fixed = FIXED[name];
  if (fixed !== undefined) return fixed;
  let hash = 0;
  for (const char of name) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  return 5 + (hash % (TONES - 5));
}

/** Tones of chart series: a service and an outcome keep their own, the rest take turns. */
export function seriesTones(names: readonly string[]): number[] {
  return names.map((name, at) => FIXED[name] ?? OUTCOMES[name] ?? at % TONES);
}
