// Limits in words.

import type { Limit, Rate } from "../api/jobs";

const UNITS = [
  [3_600_000, "hour"],
  [60_000, "minute"],
  [1000, "second"],
] as const;

/** `10 a minute`, `5 every 30 s, 2 at once after a pause`; null where there is no rate. */
export function rateText(rate: Rate | null): string | null {
  if (rate === null) return null;
  const unit = UNITS.find(([ms]) => ms === rate.perMs);
  const often = unit ? `${rate.runs} a${unit[1] === "hour" ? "n" : ""} ${unit[1]}` : `${rate.runs} every ${period(rate.perMs)}`;
  return rate.burst === rate.runs ? often : `${often}, ${rate.burst} at once after a pause`;
}

function period(ms: number): string {
  const unit = UNITS.find(([size]) => ms % size === 0);
  return unit ? `${ms / unit[0]} ${unit[1]}s` : `${ms} ms`;
}

/** Whether no more jobs may run, whosever they are. */
export function isFull(limit: Limit): boolean {
  return limit.overall !== null && limit.running >= limit.overall;
}
