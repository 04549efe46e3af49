// Reading single fields of decoded JSON whose shape the server owns.

export type Wire = Readonly<Record<string, unknown>>;

/** A list in its envelope. */
export interface Listed {
  readonly data: readonly Wire[];
}

export function text(wire: Wire, key: string): string {
  const value = wire[key];
  return typeof value === "string" ? value : "";
}

export function whole(wire: Wire, key: string): number {
  const value = wire[key];
  return typeof value === "number" ? value : 0;
}

/** What Prometheus and Alertmanager write for an instant that never was. */
const NEVER = "0001-01-01T00:00:00";

/** Milliseconds since the epoch of an RFC 3339 instant. */
export function instant(value: unknown): number | null {
  if (typeof value !== "string" || value === "" || value.startsWith(NEVER)) return null;
  const parsed = Date.parse(value);
  return Number.isNaN(parsed) ? null : parsed;
}
