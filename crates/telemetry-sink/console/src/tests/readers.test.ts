import { describe, expect, it } from "vitest";
import { readFleet } from "../api/fleet";
import { readJob, readQueue, readSchedule } from "../api/jobs";
import { readTrace } from "../api/jaeger";
import { readOrder, thumbnail } from "../api/shop";
import { readLine } from "../api/loki";
import { sampleValue } from "../api/prometheus";
import { align } from "../lib/chart-data";
import { lineText } from "../lib/log-line";
import { sparkPath } from "../components/Sparkline";

describe("traces", () => {
  it("take their parent from a CHILD_OF reference of the same trace", () => {
    const trace = readTrace({
      traceID: "t",
      processes: { p1: { serviceName: "core-api", tags: [] } },
      spans: [
        {
          traceID: "t",
          spanID: "b",
          operationName: "POST /orders",
          references: [
            { refType: "FOLLOWS_FROM", traceID: "t", spanID: "x" },
            { refType: "CHILD_OF", traceID: "t", spanID: "a" },
          ],
          startTime: 1,
          duration: 2,
          tags: [{ key: "error", value: true }],
          processID: "p1",
        },
      ],
    });
    expect(trace.spans[0]).toMatchObject({ parentId: "a", service: "core-api", error: true, kind: "internal" });
  });
});

describe("log lines", () => {
  it("open a JSON body and find the ids", () => {
    const line = readLine(
      { service_name: "core-api" },
      "1700000000123456789",
      '{"level":"WARN","fields":{"message":"slow"},"request_id":"r1"}',
    );
    expect(line).toMatchObject({
      service: "core-api",
      level: "warn",
      message: "slow",
      requestId: "r1",
      atMs: 1700000000123,
    });
  });

  it("of requests read as the request they record", () => {
    const fields = {
      scope_name: "access",
      method: "GET",
      path: "/a",
      status: "200",
      duration_us: "853",
      upstream: "core-api",
    };
    expect(lineText("", fields)).toEqual({ text: "GET /a 200 in 853 µs", details: [["upstream", "core-api"]] });
  });

  it("of anything else keep their own fields and drop the process's", () => {
    expect(lineText("signed in", { sub: "usr_1", host_name: "a", level: "info" })).toEqual({
      text: "signed in",
      details: [["sub", "usr_1"]],
    });
  });

  it("keep text that only looks like JSON", () => expect(readLine({}, "1000000", "{oops").message).toBe("{oops"));
});

describe("metrics", () => {
  it("read infinities", () =>
    expect([sampleValue("+Inf"), sampleValue("-Inf"), sampleValue("1.5")]).toEqual([Infinity, -Infinity, 1.5]));

  it("share one time axis, with gaps as null", () => {
    const lines = [
      {
        name: "a",
        points: [
          [1, 10],
          [2, NaN],
        ] as const,
      },
      { name: "b", points: [[2, 5]] as const },
    ];
    expect(align(lines)).toEqual([
      [1, 2],
      [10, null],
      [null, 5],
    ]);
  });

  it("a sparkline of one value draws nothing", () => expect(sparkPath([1], 100, 20)).toBe(""));
});

describe("fleet", () => {
  it("lists the five in their order, whatever the answer's", () => {
    const fleet = readFleet(
      {
        services: [
          { name: "telemetry-sink", ready: true },
          { name: "edge-gateway", ready: false, p99_seconds: 0.002 },
        ],
      },
      5,
    );
    expect(fleet.members.map(({ name }) => name)).toEqual(["edge-gateway", "telemetry-sink"]);
    expect(fleet.members[0]).toMatchObject({ ready: false, p99Us: 2000, rssBytes: null });
  });
});

describe("jobs", () => {
  it("carry their instants and their trace", () => {
    const job = readJob({ id: "j", state: "ready", enqueued_at: "2026-01-01T00:00:00Z", trace_id: "t" });
    expect(job).toMatchObject({ enqueuedMs: Date.UTC(2026, 0, 1), finishedMs: null, traceId: "t" });
  });

  it("queues say since when they are paused", () => {
    expect(readQueue({ name: "q", paused_since: "2026-01-01T00:00:00Z" }).pausedMs).toBe(Date.UTC(2026, 0, 1));
  });

  it("schedules carry their next runs", () => {
    const schedule = readSchedule({ name: "s", next_runs: ["2026-01-01T00:00:00Z", "no instant"], last_job: "job_1" });
    expect(schedule).toMatchObject({ nextRunsMs: [Date.UTC(2026, 0, 1)], lastRunMs: null, lastJob: "job_1" });
  });

  it("queues carry their figures", () => {
    expect(readQueue({ name: "default", ready: 2, due: 1, running: 1, discarded: 0, oldest_due_seconds: 7.5 })).toEqual(
      {
        name: "default",
        ready: 2,
        due: 1,
        running: 1,
        discarded: 0,
        oldestDueSeconds: 7.5,
        pausedMs: null,
      },
    );
  });
});

describe("orders", () => {
  it("keep their lines as placed", () => {
    const order = readOrder({
      id: "o",
      status: "placed",
      total: 2500,
      currency: "EUR",
      lines: [{ name: "Mug", quantity: 2 }],
    });
    expect(order).toMatchObject({ total: 2500, lines: [{ name: "Mug", quantity: 2 }], placedMs: null });
  });

  it("a picture has a thumbnail once it is made", () => {
    const item = {
      id: "i",
      sku: "s",
      name: "n",
      available: 1,
      picture: { url: "/api/v1/items/i/image?digest=d", thumbnails: "ready" },
    };
    expect(thumbnail(item)).toBe("/api/v1/items/i/image?digest=d&size=256");
    expect(thumbnail({ ...item, picture: { url: "/x", thumbnails: "pending" } })).toBeNull();
  });
});
