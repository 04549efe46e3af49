// core-api as the shop screen needs it: items with their price and picture, accounts, orders.

import { get, post, upload, type Reply } from "./http";
import { instant } from "./wire";

const BASE = "/api/v1";
const PAGE = 200;

export interface Picture {
  readonly url: string;
  readonly thumbnails: string;
}

export interface Item {
  readonly id: string;
  readonly sku: string;
  readonly name: string;
  readonly available: number;
  readonly picture: Picture | null;
}

export interface Price {
  readonly itemId: string;
  readonly amount: number;
  readonly currency: string;
}

export interface Account {
  readonly id: string;
  readonly email: string;
  readonly name: string;
}

export interface Order {
  readonly id: string;
  readonly status: string;
  readonly accountId: string;
  /** Name and quantity as they were when the order was placed. */
  readonly lines: readonly { readonly name: string; readonly quantity: number }[];
  readonly total: number;
  readonly currency: string;
  readonly invoiceNumber: string;
  readonly placedMs: number | null;
}

type Wire = Readonly<Record<string, unknown>>;

interface Page {
  readonly items: readonly Wire[];
}

async function page(collection: string, limit: number, signal?: AbortSignal): Promise<readonly Wire[]> {
  return (await get<Page>(`${BASE}/${collection}`, { limit }, signal)).items;
}

function text(wire: Wire, key: string): string {
  const value = wire[key];
  return typeof value === "string" ? value : "";
}

function whole(wire: Wire, key: string): number {
  const value = wire[key];
  return typeof value === "number" ? value : 0;
}

function readItem(wire: Wire): Item {
  const image = wire["image"] as Wire | null | undefined;
  return {
    id: text(wire, "id"),
    sku: text(wire, "sku"),
    name: text(wire, "name"),
    available: whole(wire, "available"),
    picture: image ? { url: text(image, "url"), thumbnails: text(image, "thumbnails") } : null,
  };
}

function readAccount(wire: Wire): Account {
  return { id: text(wire, "id"), email: text(wire, "email"), name: text(wire, "name") };
}

export function readOrder(wire: Wire): Order {
  return {
    id: text(wire, "id"),
    status: text(wire, "status"),
    accountId: text(wire, "account_id"),
    lines: ((wire["lines"] ?? []) as readonly Wire[]).map((line) => ({
      name: text(line, "name"),
      quantity: whole(line, "quantity"),
    })),
    total: whole(wire, "total"),
    currency: text(wire, "currency"),
    invoiceNumber: text(wire, "invoice_number"),
    placedMs: instant(wire["placed_at"]),
  };
}

/** The thumbnail of an item, or null while there is none. */
export function thumbnail(item: Item): string | null {
  if (!item.picture || item.picture.thumbnails !== "ready") return null;
  return `${item.picture.url}${item.picture.url.includes("?") ? "&" : "?"}size=256`;
}

export async function items(signal?: AbortSignal): Promise<readonly Item[]> {
  return (await page("items", PAGE, signal)).map(readItem);
}

/** The current price of each item that has one. */
export async function prices(signal?: AbortSignal): Promise<ReadonlyMap<string, Price>> {
  const all = await page("prices", PAGE, signal);
  const current = all.filter((wire) => !wire["superseded_at"]);
  return new Map(
    current.map((wire) => [
      text(wire, "item_id"),
      { itemId: text(wire, "item_id"), amount: whole(wire, "amount"), currency: text(wire, "currency") },
    ]),
  );
}

export async function accounts(signal?: AbortSignal): Promise<readonly Account[]> {
  return (await page("users", PAGE, signal)).map(readAccount);
}

export async function orders(signal?: AbortSignal): Promise<readonly Order[]> {
  return (await page("orders", 50, signal)).map(readOrder);
}

/** A fresh key per press of a button; a retry of the same press would send the same one. */
function idempotent(): Readonly<Record<string, string>> {
  return { "idempotency-key": crypto.randomUUID() };
}

export async function createAccount(email: string, name: string): Promise<Account> {
  const reply = await post<Wire>(`${BASE}/users`, { email, name }, idempotent());
  return readAccount(reply.body);
}

export interface Wanted {
  readonly accountId: string;
  readonly itemId: string;
  readonly quantity: number;
  readonly currency: string;
}

export async function placeOrder(wanted: Wanted): Promise<Reply<Order>> {
  const reply = await post<Wire>(
    `${BASE}/orders`,
    {
      account_id: wanted.accountId,
      currency: wanted.currency,
      lines: [{ item_id: wanted.itemId, quantity: wanted.quantity }],
    },
    idempotent(),
  );
  return { ...reply, body: readOrder(reply.body) };
}

export interface NewItem {
  readonly sku: string;
  readonly name: string;
  readonly stock: number;
  readonly amount: number;
  readonly currency: string;
  readonly picture: File | null;
}

/** Makes an item with stock, a price and a picture. Several requests: the last one is the reply. */
export async function createItem(item: NewItem): Promise<Reply<unknown>> {
  const made = await post<Wire>(`${BASE}/items`, { sku: item.sku, name: item.name }, idempotent());
  const id = encodeURIComponent(text(made.body, "id"));
  await post(`${BASE}/items/${id}/stock`, { quantity: item.stock, reason: "first delivery" }, idempotent());
  let last: Reply<unknown> = await post(
    `${BASE}/prices`,
    { item_id: text(made.body, "id"), amount: item.amount, currency: item.currency },
    idempotent(),
  );
  if (item.picture) last = await upload(`${BASE}/items/${id}/image`, item.picture);
  return last;
}
