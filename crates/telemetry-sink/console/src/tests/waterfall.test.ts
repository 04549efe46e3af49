import { describe, expect, it } from "vitest";
import { layOut, matching, ticks, type Span } from "../lib/waterfall";
import { summarize } from "../lib/trace-summary";

function span(spanId: string, parentId: string | null, startUs: number, durationUs: number, service = "a"): Span {
  return { spanId, parentId, service, name: spanId, startUs, durationUs, error: false };
}

const names = (spans: readonly Span[]): string[] => layOut(spans).rows.map((row) => row.span.spanId);

describe("waterfall", () => {
  it("orders spans depth first and children by their start", () => {
    const spans = [
      span("late", "root", 60, 10),
      span("early", "root", 10, 20),
      span("leaf", "early", 12, 5),
      span("root", null, 0, 100),
    ];
    expect(names(spans)).toEqual(["root", "early", "leaf", "late"]);
    expect(layOut(spans).rows.map((row) => row.depth)).toEqual([0, 1, 2, 1]);
  });

  it("bars are fractions of the whole trace", () => {
    const { rows, durationUs } = layOut([span("root", null, 1000, 100), span("job", "root", 1150, 50)]);
    expect(durationUs).toBe(200);
    expect(rows[1]).toMatchObject({ left: 0.75, width: 0.25 });
  });

  it("a span whose parent is missing is a root", () => {
    expect(layOut([span("orphan", "lost", 5, 1), span("root", null, 0, 10)]).rows.map((row) => row.depth)).toEqual([
      0, 0,
    ]);
  });

  it("spans that name each other as parents are laid out once each", () => {
    expect(names([span("x", "y", 0, 10), span("y", "x", 1, 5), span("self", "self", 2, 1)]).sort()).toEqual([
      "self",
      "x",
      "y",
    ]);
  });

  it("self time leaves out what overlapping children cover", () => {
    const { rows } = layOut([
      span("root", null, 0, 100),
      span("one", "root", 10, 40),
      span("two", "root", 30, 40),
      span("after", "root", 90, 50),
    ]);
    expect(rows[0]?.selfUs).toBe(30);
  });

  it("the critical path follows whoever finished last, not work that outlives its parent", () => {
    const spans = [
      span("root", null, 0, 100),
      span("query", "root", 5, 20),
      span("slow", "root", 30, 60),
      span("beside", "root", 30, 10),
      span("job", "root", 95, 500),
    ];
    const critical = layOut(spans)
      .rows.filter((row) => row.critical)
      .map((row) => row.span.spanId);
    expect(critical).toEqual(["root", "query", "slow"]);
  });

  it("an empty trace has no rows", () => expect(layOut([])).toMatchObject({ rows: [], durationUs: 0 }));

  it("a deep chain does not overflow the stack", () => {
    const chain = Array.from({ length: 20_000 }, (_, at) =>
      span(`s${at}`, at === 0 ? null : `s${at - 1}`, at, 20_000 - at),
    );
    expect(layOut(chain).rows).toHaveLength(20_000);
  });
});

describe("ticks", () => {
  it("are round and within the trace", () => expect(ticks(950)).toEqual([0, 200, 400, 600, 800]));
  it("survive a trace of one microsecond", () => expect(ticks(1).length).toBeGreaterThan(0));
});

describe("summary", () => {
  it("is titled by what the gateway called, not by the prefix it routes by", () => {
    const gateway = { ...span("root", null, 0, 10, "edge-gateway"), name: "POST /api/" };
    const api = { ...span("api", "root", 1, 8, "core-api"), name: "POST /api/v1/orders" };
    expect(summarize({ traceId: "t", spans: [gateway, api] }).name).toBe("POST /api/v1/orders");
    expect(summarize({ traceId: "t", spans: [gateway] }).name).toBe("POST /api/");
  });

  it("names the root and counts services in order", () => {
    const summary = summarize({ traceId: "t", spans: [span("child", "root", 5, 100, "b"), span("root", null, 0, 10)] });
    expect(summary).toMatchObject({ name: "root", durationUs: 105, services: ["a", "b"], spans: 2 });
  });
});

describe("searching a trace", () => {
  const rows = layOut([
    { ...span("a", null, 0, 10), attributes: [{ key: "http.route", value: "/orders" }] },
    { ...span("b", "a", 1, 2), attributes: [{ key: "db.system", value: "sqlite" }] },
  ]).rows;

  it("finds a span by every word in what it carries", () => {
    expect([...(matching(rows, "route=/ORDERS") ?? [])]).toEqual(["a"]);
    expect([...(matching(rows, "sqlite b") ?? [])]).toEqual(["b"]);
    expect([...(matching(rows, "sqlite orders") ?? [])]).toEqual([]);
  });

  it("without words looks for nothing", () => expect(matching(rows, "  ")).toBeNull());
});
