// Where dashboards come from: files that ship with the console, what the server keeps for everybody, and what this
// browser keeps for people who may not write there.

import { ApiError, get, getTagged, optional, put, remove } from "./http";
import { session } from "./session";
import { readDashboard, slug, type Dashboard } from "../lib/dashboard";

export interface Listed {
  readonly id: string;
  readonly title: string;
  readonly description: string;
}

/** One that the server keeps. */
export interface Stored extends Listed {
  readonly panels: number;
  readonly etag: string;
}

/** A dashboard with where it is kept; with the entity tag that a change of it needs. */
export type Found =
  | { readonly dashboard: Dashboard; readonly kept: "server"; readonly etag: string }
  | { readonly dashboard: Dashboard; readonly kept: "browser" | null };

const SERVER = "/telemetry/v1/dashboards";
/** The scope without which the server takes none. */
const WRITE = "telemetry:write";
const FOLDER = "/boards";
const KEPT = "quintet.dashboards";
/** Browsers give a site five million letters; one dashboard must not take them all. */
const LARGEST = 1_000_000;

export async function shipped(signal?: AbortSignal): Promise<readonly Listed[]> {
  return get<readonly Listed[]>(`${FOLDER}/index.json`, {}, signal);
}

export async function shippedDashboard(id: string, signal?: AbortSignal): Promise<Dashboard> {
  const read = readDashboard(await get<unknown>(`${FOLDER}/${encodeURIComponent(id)}.json`, {}, signal));
  if ("problem" in read) throw new Error(read.problem);
  return read.dashboard;
}

const at = (id: string): string => `${SERVER}/${encodeURIComponent(id)}`;

/** None where the server is too old to keep any. */
export async function stored(signal?: AbortSignal): Promise<readonly Stored[]> {
  const reply = await optional(get<{ readonly data: readonly Stored[] }>(SERVER, {}, signal));
  return reply?.data ?? [];
}

export async function mayStore(signal?: AbortSignal): Promise<boolean> {
  return (await session(signal)).scopes.includes(WRITE);
}

/** What the server keeps comes first: under the name of one that ships it replaces that. */
export async function find(id: string, signal?: AbortSignal): Promise<Found> {
  if ((await stored(signal)).some((one) => one.id === id)) {
    const { body, etag } = await getTagged<unknown>(at(id), signal);
    const read = readDashboard(body);
    if ("problem" in read) throw new Error(read.problem);
    return { dashboard: { ...read.dashboard, id }, kept: "server", etag: etag ?? "*" };
  }
  const own = kept().find((one) => one.id === id);
  if (own) return { dashboard: own, kept: "browser" };
  return { dashboard: await shippedDashboard(id, signal), kept: null };
}

/** Stores a new dashboard, or another version of the one with the tag; returns what went wrong. */
export async function store(dashboard: Dashboard, etag: string | null): Promise<string | null> {
  const expected = etag === null ? { "if-none-match": "*" } : { "if-match": etag };
  return said(put<unknown>(at(dashboard.id), dashboard, expected));
}

export async function drop(id: string, etag: string): Promise<string | null> {
  return said(remove(at(id), { "if-match": etag }));
}

const CHANGED = "Somebody else changed or deleted this dashboard meanwhile. Copy your text, load the page again, and go on from there.";

async function said(change: Promise<unknown>): Promise<string | null> {
  try {
    await change;
    return null;
  } catch (cause) {
    if (!(cause instanceof ApiError)) throw cause;
    if (cause.status === 412) return CHANGED;
    const [field] = cause.fields;
    return field?.pointer ? `${field.pointer} ${field.detail}` : cause.detail || cause.title;
  }
}

/** Keeps a new dashboard where this person may: on the server, or else in this browser. */
export async function keepNew(dashboard: Dashboard): Promise<string | null> {
  return (await mayStore()) ? store(dashboard, null) : keep(dashboard);
}

/** What this browser keeps; a text that cannot be read is left alone and shown as nothing. */
export function kept(): readonly Dashboard[] {
  let wire: unknown;
  try {
    wire = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(wire)) return [];
  return wire.flatMap((one: unknown) => {
    const read = readDashboard(one);
    return "dashboard" in read ? [read.dashboard] : [];
  });
}

function write(dashboards: readonly Dashboard[]): string | null {
  try {
    localStorage.setItem(KEPT, JSON.stringify(dashboards));
    return null;
  } catch {
    return "This browser has no room for it. Export and delete dashboards that are not needed here.";
  }
}

/** Keeps a dashboard in this browser; returns what went wrong. */
export function keep(dashboard: Dashboard): string | null {
  if (JSON.stringify(dashboard).length > LARGEST) return "A dashboard of more than a million letters is not kept.";
  return write([...kept().filter(({ id }) => id !== dashboard.id), dashboard]);
}

export function forget(id: string): void {
  write(kept().filter((one) => one.id !== id));
}

/** An id that neither ships nor is kept yet. */
export function freeId(title: string, taken: readonly string[]): string {
  const base = slug(title);
  for (let at = 1; ; at += 1) {
    const id = at === 1 ? base : `${base}-${at}`;
    if (!taken.includes(id)) return id;
  }
}

/** A dashboard as part of an address, behind its `#`: no server sees it. */
export async function packed(dashboard: Dashboard): Promise<string> {
  const stream = new Blob([JSON.stringify(dashboard)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Null when the text is no packed dashboard. */
export async function unpacked(text: string): Promise<Dashboard | null> {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const json = await bounded(stream);
    const read = readDashboard(JSON.parse(json));
    return "dashboard" in read ? read.dashboard : null;
  } catch {
    return null;
  }
}

/** A short address can unpack to more than a page can hold: reading stops at the bound. */
async function bounded(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += decoder.decode(part.value, { stream: true });
    if (text.length > LARGEST) {
      await reader.cancel();
      throw new Error("too long");
    }
  }
  return text;
}
