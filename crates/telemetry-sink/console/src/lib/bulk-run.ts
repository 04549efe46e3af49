// A bulk action in steps, so that each request stays short. It never changes more jobs than the person was shown:
// redriven jobs may fail again at once, and an action without a bound would chase them.

export interface Step {
  readonly changed: number;
  readonly more: boolean;
}

export const STEP = 1000;

/** How many jobs were changed. `progress` hears the sum after each step. */
export async function inSteps(
  most: number,
  step: (limit: number) => Promise<Step>,
  progress: (changed: number) => void = () => {},
): Promise<number> {
  let changed = 0;
  while (changed < most) {
    const done = await step(Math.min(STEP, most - changed));
    changed += done.changed;
    progress(changed);
    if (!done.more || done.changed === 0) break;
  }
  return changed;
}
