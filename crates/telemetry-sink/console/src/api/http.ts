// The one place that talks HTTP: deadlines, problem+json, and the signal that the session ended.

export interface FieldError {
  readonly pointer: string;
  readonly detail: string;
}

/** A refused or failed request. `status` 0 means that no answer came. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly requestId: string | null,
    readonly fields: readonly FieldError[] = [],
  ) {
    super(detail || title);
  }
}

/** A decoded answer with the request id the gateway gave it. */
export interface Reply<T> {
  readonly body: T;
  readonly requestId: string | null;
  readonly etag: string | null;
}

export type Params = Readonly<Record<string, string | number | readonly string[] | undefined>>;

const DEADLINE_MS = 30_000;
/** What the gateway answers for a service behind it that does not. */
const AWAY: ReadonlySet<number> = new Set([502, 503, 504]);

/** How the page stands with the fleet, as far as the last answers tell. */
export interface Connection {
  /** The session has ended: every answer is 401 until the person signs in again. */
  readonly expired: boolean;
  /** Services whose last answer did not come. */
  readonly away: readonly string[];
}

const OWNERS: readonly (readonly [prefix: string, service: string])[] = [
  ["/telemetry/", "telemetry-sink"],
  ["/jobs/v1/", "async-worker"],
  ["/api/", "core-api"],
];
const GATEWAY = "edge-gateway";

const connections = new EventTarget();
let connection: Connection = { expired: false, away: [] };

export function currentConnection(): Connection {
  return connection;
}

export function onConnection(listener: () => void): () => void {
  connections.addEventListener("change", listener);
  return () => connections.removeEventListener("change", listener);
}

/** Another screen asks other services: what the last one missed is no longer known. */
export function forgetAbsences(): void {
  note({ ...connection, away: [] });
}

function note(next: Connection): void {
  if (next.expired === connection.expired && next.away.join() === connection.away.join()) return;
  connection = next;
  connections.dispatchEvent(new Event("change"));
}

function noteAbsence(service: string): void {
  note({ ...connection, away: [...new Set([...connection.away, service])].sort() });
}

function noteAnswer(url: string, response: Response): void {
  const owner = OWNERS.find(([prefix]) => url.startsWith(prefix))?.[1] ?? GATEWAY;
  const here = connection.away.filter((service) => service !== GATEWAY && service !== owner);
  const refused = response.type === "opaqueredirect" || response.status === 401;
  note({ expired: refused, away: here });
  if (AWAY.has(response.status)) noteAbsence(owner);
}

export function withParams(path: string, params: Params): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value === undefined || value === "") continue;
    for (const item of Array.isArray(value) ? value : [value]) query.append(key, String(item));
  }
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}

export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const reply = await send<T>("GET", withParams(path, params), undefined, {}, signal);
  return reply.body;
}

/** Null where the server does not know the route. */
export async function optional<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (cause) {
    if (cause instanceof ApiError && (cause.status === 404 || cause.status === 405)) return null;
    throw cause;
  }
}

/** With its entity tag. */
export async function getTagged<T>(path: string, signal?: AbortSignal): Promise<Reply<T>> {
  return send<T>("GET", path, undefined, {}, signal);
}

export async function remove(path: string, headers: Readonly<Record<string, string>> = {}): Promise<void> {
  await send<unknown>("DELETE", path, undefined, headers);
}

export async function put<T>(path: string, body: unknown, headers: Readonly<Record<string, string>>): Promise<Reply<T>> {
  return send<T>("PUT", path, body, headers);
}

export async function post<T>(
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply<T>> {
  return send<T>("POST", path, body, headers);
}

/** Sends a file as it is. */
export async function upload<T>(path: string, file: File): Promise<Reply<T>> {
  return send<T>("PUT", path, file, { "content-type": file.type });
}

async function send<T>(
  method: string,
  url: string,
  body: unknown,
  headers: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<Reply<T>> {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const init: RequestInit = {
    method,
    headers: { accept: "application/json", ...headers },
    credentials: "same-origin",
    redirect: "manual",
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
  };
  if (body instanceof Blob) {
    init.body = body;
  } else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...init.headers, "content-type": "application/json" };
  }
  const response = await fetch(url, init).catch((cause: unknown) => {
    if (signal?.aborted) throw cause;
    noteAbsence(GATEWAY);
    throw unreachable(cause);
  });
  // An API never redirects a signed-in caller: an opaque redirect leads to the sign-in page.
  noteAnswer(url, response);
  if (!response.ok) throw await refusal(response);
  const text = await response.text();
  return {
    body: (text === "" ? undefined : JSON.parse(text)) as T,
    requestId: response.headers.get("x-request-id"),
    etag: response.headers.get("etag"),
  };
}

function unreachable(cause: unknown): ApiError {
  const timedOut = cause instanceof DOMException && cause.name === "TimeoutError";
  return new ApiError(
    0,
    timedOut ? "timeout" : "unreachable",
    timedOut ? "The answer took too long" : "The gateway cannot be reached",
    timedOut
      ? `No answer within ${DEADLINE_MS / 1000} seconds. A smaller time range asks for less.`
      : "Check the network connection and that edge-gateway is running.",
    null,
  );
}

async function refusal(response: Response): Promise<ApiError> {
  const header = response.headers.get("x-request-id");
  if (response.type === "opaqueredirect") {
    return new ApiError(401, "session_expired", "Your session has ended", "Sign in again to go on.", header);
  }
  const text = await response.text().catch(() => "");
  const problem = parseObject(text);
  const word = (key: string): string => (typeof problem[key] === "string" ? (problem[key] as string) : "");
  return new ApiError(
    response.status,
    word("code") || word("errorType") || `http_${response.status}`,
    word("title") || `The server answered ${response.status}`,
    word("detail") || word("error") || jaegerMessage(problem) || plainText(text, problem),
    word("request_id") || header,
    fieldErrors(problem),
  );
}

function entries(problem: Readonly<Record<string, unknown>>): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(problem["errors"]) ? (problem["errors"] as Record<string, unknown>[]) : [];
}

function fieldErrors(problem: Readonly<Record<string, unknown>>): FieldError[] {
  return entries(problem).flatMap(({ pointer, detail }) =>
    typeof pointer === "string" && typeof detail === "string" ? [{ pointer, detail }] : [],
  );
}

/** Jaeger's API says what is wrong in `errors[].msg`. */
function jaegerMessage(problem: Readonly<Record<string, unknown>>): string {
  return entries(problem)
    .flatMap(({ msg }) => (typeof msg === "string" ? [msg] : []))
    .join("; ");
}

/** Loki's errors are plain text, those of Alertmanager one text as JSON. */
function plainText(text: string, problem: Readonly<Record<string, unknown>>): string {
  const structured = Object.keys(problem).length > 0 || text.trimStart().startsWith("<");
  if (structured) return "";
  const value = parse(text);
  return (typeof value === "string" ? value : text).slice(0, 300);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parseObject(text: string): Record<string, unknown> {
  const value = parse(text);
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}
