// The sink's look at the machine it runs on. It has a scope of its own, and the server logs every look.

import { ApiError, get, optional } from "./http";
import { session } from "./session";
import type { Wire } from "./wire";
import type { LookName } from "../lib/machine";

export const SCOPE = "node:read";

/** What came of a look. */
export type Looked =
  | { readonly kind: "seen"; readonly atMs: number; readonly wire: Wire }
  /** The session lacks a scope; `granted` is what it has, as far as that is known. */
  | { readonly kind: "denied"; readonly scope: string; readonly granted: readonly string[] }
  /** The server knows no such look. */
  | { readonly kind: "absent" };

/** Looks, unless the session is known to lack the scope: what would be refused is not asked. */
export async function look(name: LookName, signal?: AbortSignal): Promise<Looked> {
  const granted = await session(signal).then(
    ({ scopes }) => scopes,
    () => null,
  );
  if (granted && !granted.includes(SCOPE)) return { kind: "denied", scope: SCOPE, granted };
  try {
    const wire = await optional(get<Wire>(`/telemetry/v1/diagnostics/${name}`, {}, signal));
    return wire ? { kind: "seen", atMs: Date.now(), wire } : { kind: "absent" };
  } catch (cause) {
    if (!(cause instanceof ApiError) || cause.status !== 403) throw cause;
    return { kind: "denied", scope: missingScope(cause.detail), granted: granted ?? [] };
  }
}

/** A refusal names the scope: `this needs the scope node:read`. */
export function missingScope(detail: string): string {
  return /\bscope (\S+)/.exec(detail)?.[1] ?? SCOPE;
}
