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

export const TONES = 12;
const OTHERS = TONES - Object.keys(FIXED).length;

/** Where this browser remembers which service has which colour, so that it looks the same tomorrow. */
const KEPT = "quintet.tones";

/** Services beside the five, as this browser met them. */
const met = remembered();

function remembered(): Map<string, number> {
  try {
    const pairs = JSON.parse(localStorage.getItem(KEPT) ?? "[]") as readonly (readonly [string, number])[];
    const free = (tone: unknown): boolean => Number.isInteger(tone) && Number(tone) >= TONES - OTHERS && Number(tone) < TONES;
    return new Map(pairs.filter(([name, tone]) => typeof name === "string" && free(tone)).slice(0, OTHERS));
  } catch {
    // No storage, or somebody else's text in it: colours are given out anew.
    return new Map();
  }
}

function remember(name: string, tone: number): void {
  met.set(name, tone);
  try {
    localStorage.setItem(KEPT, JSON.stringify([...met]));
  } catch {
    // A browser without room keeps them until the page is left.
  }
}

export function serviceTone(name: string): number {
  const fixed = FIXED[name];
  if (fixed !== undefined) return fixed;
  const known = met.get(name);
  if (known !== undefined) return known;
  let hash = 0;
  for (const char of name) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  const tone = TONES - OTHERS + freeSlot(hash % OTHERS, new Set(met.values()));
  // More services than colours share them; what shares needs no place in memory.
  if (met.size < OTHERS) remember(name, tone);
  return tone;
}

/** The slot that a name asks for, or the next one that no other service has; two services look alike only where all are taken. */
function freeSlot(wanted: number, taken: ReadonlySet<number>): number {
  for (let step = 0; step < OTHERS; step += 1) {
    const slot = (wanted + step) % OTHERS;
    if (!taken.has(TONES - OTHERS + slot)) return slot;
  }
  return wanted;
}

/** Tones of chart series: a service and an outcome keep their own, the rest take turns. */
export function seriesTones(names: readonly string[]): number[] {
  return names.map((name, at) => FIXED[name] ?? OUTCOMES[name] ?? at % TONES);
}
