// The signed-in person, as the gateway knows them.

import { get } from "./http";

export interface Session {
  readonly name: string;
  readonly email: string;
  readonly scopes: readonly string[];
}

interface Wire {
  readonly name: string | null;
  readonly email: string | null;
  readonly scopes: readonly string[];
}

export async function session(signal?: AbortSignal): Promise<Session> {
  const wire = await get<Wire>("/.auth/session", {}, signal);
  return { name: wire.name ?? "", email: wire.email ?? "", scopes: wire.scopes };
}
