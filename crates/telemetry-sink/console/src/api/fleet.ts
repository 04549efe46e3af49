// Live figures of the five: server-sent events, with polling while the stream is away.

import { useEffect, useState } from "preact/hooks";
import { ApiError, get } from "./http";
import { asApiError } from "../hooks";

export interface Member {
  readonly name: string;
  readonly ready: boolean;
  /** Why it is not ready, in the service's own words. */
  readonly reason: string;
  readonly version: string;
  readonly uptimeSeconds: number | null;
  readonly rssBytes: number | null;
  /** Cores in use: 0.25 is a quarter of one core. */
  readonly cpuCores: number | null;
  readonly requestsPerSecond: number | null;
  readonly errorsPerSecond: number | null;
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  /** Requests per second over the last ten minutes, oldest first. */
  readonly spark: readonly number[];
}

export interface Fleet {
  readonly atMs: number;
  readonly members: readonly Member[];
}

export type Freshness = "connecting" | "live" | "polling" | "stale";

export interface LiveFleet {
  readonly fleet: Fleet | undefined;
  readonly freshness: Freshness;
  readonly error: ApiError | undefined;
}

export const MEMBERS = ["edge-gateway", "core-api", "async-worker", "identity-provider", "telemetry-sink"] as const;

type Wire = Readonly<Record<string, unknown>>;

function number(from: Wire, key: string): number | null {
  const value = from[key];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function text(from: Wire, key: string): string {
  const value = from[key];
  return typeof value === "string" ? value : "";
}

function scaled(value: number | null, factor: number): number | null {
  return value === null ? null : value * factor;
}

export function readFleet(body: unknown, receivedMs: number): Fleet {
  const wire = (body ?? {}) as Wire;
  const list = Array.isArray(wire["services"]) ? (wire["services"] as readonly Wire[]) : [];
  const members = list.map(readMember);
  const order = (name: string): number => {
    const at = MEMBERS.findIndex((member) => member === name);
    return at === -1 ? MEMBERS.length : at;
  };
  members.sort((left, right) => order(left.name) - order(right.name));
  return { atMs: receivedMs, members };
}

/** Steps without a figure count as rest: the service was not there or answered nothing. */
function sparkline(wire: Wire): number[] {
  const values = wire["requests_per_second"];
  return Array.isArray(values) ? values.map((value) => (typeof value === "number" ? value : 0)) : [];
}

function readMember(wire: Wire): Member {
  return {
    name: text(wire, "name"),
    ready: wire["ready"] === true,
    reason: text(wire, "reason"),
    version: text(wire, "version"),
    uptimeSeconds: number(wire, "uptime_seconds"),
    rssBytes: number(wire, "rss_bytes"),
    cpuCores: number(wire, "cpu_cores"),
    requestsPerSecond: number(wire, "requests_per_second"),
    errorsPerSecond: number(wire, "errors_per_second"),
    p50Us: scaled(number(wire, "p50_seconds"), 1_000_000),
    p99Us: scaled(number(wire, "p99_seconds"), 1_000_000),
    spark: sparkline((wire["sparklines"] ?? {}) as Wire),
  };
}

const POLL_MS = 3000;
const STALE_MS = 15_000;

export function useFleet(): LiveFleet {
  const [state, setState] = useState<LiveFleet>({
    fleet: undefined,
    freshness: "connecting",
    error: undefined,
  });

  useEffect(() => {
    let closed = false;
    let streaming = false;
    let lastMs = 0;

    const take = (body: unknown, freshness: Freshness): void => {
      if (closed) return;
      lastMs = Date.now();
      setState({ fleet: readFleet(body, lastMs), freshness, error: undefined });
    };
    const poll = async (): Promise<void> => {
      try {
        take(await get<unknown>("/telemetry/v1/fleet"), "polling");
      } catch (cause) {
        const error = asApiError(cause);
        if (!closed) setState((before) => ({ ...before, error, freshness: "stale" }));
      }
    };
    const events = new EventSource("/telemetry/v1/events");
    const onEvent = (event: MessageEvent<string>): void => {
      streaming = true;
      take(JSON.parse(event.data), "live");
    };
    events.addEventListener("fleet", onEvent);
    events.addEventListener("message", onEvent);
    events.addEventListener("error", () => {
      streaming = false;
    });
    const timer = setInterval(() => {
      if (Date.now() - lastMs > STALE_MS) streaming = false;
      if (!streaming) void poll();
    }, POLL_MS);
    void poll();
    return () => {
      closed = true;
      clearInterval(timer);
      events.close();
    };
  }, []);
  return state;
}
