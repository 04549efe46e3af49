// Paths of the console and what lies behind them. The server owns some prefixes of the same origin;
// links into those leave the page.

export type Route =
  | { readonly name: "fleet" }
  | { readonly name: "traces" }
  | { readonly name: "trace"; readonly id: string }
  | { readonly name: "logs" }
  | { readonly name: "explore" | "storage" | "map" | "alerts" | "dashboards" | "machine" }
  | { readonly name: "dashboard"; readonly id: string }
  | { readonly name: "jobs" | "job-search" | "dead-letters" | "schedules" | "limits" }
  | { readonly name: "job" | "workflow" | "batch"; readonly id: string }
  | { readonly name: "mail"; readonly id: string | null }
  | { readonly name: "shop" }
  | { readonly name: "unknown" };

const SERVER_PREFIXES = ["/.auth/", "/.gateway/", "/identity/", "/telemetry/", "/jobs/v1/", "/api/"];

export function serverOwns(path: string): boolean {
  return SERVER_PREFIXES.some((prefix) => path.startsWith(prefix));
}

export function match(path: string): Route {
  const parts = path
    .split("/")
    .filter((part) => part !== "")
    .map(decode);
  const [first, second] = parts;
  if (parts.length === 0) return { name: "fleet" };
  if (parts.length === 1) {
    switch (first) {
      case "traces":
      case "logs":
      case "explore":
      case "storage":
      case "map":
      case "alerts":
      case "dashboards":
      case "machine":
      case "jobs":
      case "shop":
        return { name: first };
      case "mail":
        return { name: "mail", id: null };
    }
  }
  if (parts.length === 2 && second !== undefined) {
    if (first === "dashboards") return { name: "dashboard", id: second };
    if (first === "traces") return { name: "trace", id: second };
    if (first === "jobs") return JOB_PAGES.get(second) ?? { name: jobThing(second), id: second };
    if (first === "mail") return { name: "mail", id: second };
  }
  return { name: "unknown" };
}

/** What an id names says its beginning. */
function jobThing(id: string): "job" | "workflow" | "batch" {
  if (id.startsWith("wfl_")) return "workflow";
  return id.startsWith("bat_") ? "batch" : "job";
}

/** Beside these, what follows `/jobs/` is the id of a job, a workflow or a batch. */
const JOB_PAGES: ReadonlyMap<string, Route> = new Map([
  ["search", { name: "job-search" }],
  ["dead", { name: "dead-letters" }],
  ["schedules", { name: "schedules" }],
  ["limits", { name: "limits" }],
] as const);

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** A console address with its query, empty values left out. */
export function href(path: string, query: Readonly<Record<string, string | undefined>> = {}): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value) params.set(key, value);
  const text = params.toString();
  return text === "" ? path : `${path}?${text}`;
}

export const tracePath = (id: string): string => `/traces/${encodeURIComponent(id)}`;
export const requestPath = (id: string): string => href("/traces", { request: id });
export const jobPath = (id: string): string => `/jobs/${encodeURIComponent(id)}`;
export const dashboardPath = (id: string): string => `/dashboards/${encodeURIComponent(id)}`;
export const mailPath = (id: string): string => `/mail/${encodeURIComponent(id)}`;
