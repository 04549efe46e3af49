import { describe, expect, it } from "vitest";
import type { StoredLine } from "../api/loki";
import { countedSlices, loadedSlices } from "../components/LogHistogram";
import { emptyBuffer, exportText, facetsOf, instantText, olderThan, takeNewer, takeOlder } from "../lib/log-buffer";
import { countQuery, logQuery, readFields, toggleField, writeFields, type FieldFilter } from "../lib/logql";
import { mapScroll, planRows, planUneven } from "../lib/rows";

const SECOND = 1_000_000_000n;
const BASE = 1_790_000_000n * SECOND;

function line(second: number, text: string, stream: Record<string, string> = { service_name: "a", level: "info" }): StoredLine {
  return { nanos: String(BASE + BigInt(second) * SECOND), stream, line: text };
}

describe("field filters", () => {
  const status: FieldFilter = { key: "status", op: "=", value: "500" };

  it("stand after the text, and those of the index within the selector", () => {
    const fields: FieldFilter[] = [status, { key: "service_name", op: "!=", value: "core-api" }];
    const filter = { service: "", level: "", text: "x", requestId: "", traceId: "", fields };
    expect(logQuery(filter, "service_name", "level")).toBe(
      '{service_name=~".+", service_name!="core-api"} |= "x" | status="500"',
    );
  });

  it("whose name is no label are left out of the query, whatever they hold", () => {
    const fields: FieldFilter[] = [{ key: 'a"} or {b', op: "=", value: "1" }];
    const filter = { service: "", level: "", text: "", requestId: "", traceId: "", fields };
    expect(logQuery(filter, "service_name", "level")).toBe('{service_name=~".+"}');
  });

  it("survive the address", () => {
    const fields: FieldFilter[] = [status, { key: "path", op: "!=", value: 'a "quoted" \\ path' }];
    expect(readFields(writeFields(fields))).toEqual(fields);
  });

  it.each(["", "{", "[1]", '[["a","<","b"]]', '{"a":1}', null])("that cannot be read are none: %s", (text) => {
    expect(readFields(text)).toEqual([]);
  });

  it("go when they are chosen again, and give way to their opposite", () => {
    expect(toggleField([status], status)).toEqual([]);
    expect(toggleField([status], { ...status, op: "!=" })).toEqual([{ ...status, op: "!=" }]);
  });

  it("are counted over time by one label", () => {
    expect(countQuery('{a="b"}', "level", 15)).toBe('sum by (level) (count_over_time({a="b"} [15s]))');
  });
});

describe("a log buffer", () => {
  it("takes pages that overlap in one instant without repeating or losing a line", () => {
    const buffer = emptyBuffer();
    takeOlder(buffer, [line(9, "e"), line(8, "d"), line(7, "c1")], 3);
    expect(buffer.complete).toBe(false);
    expect(olderThan(buffer, { start: "0", end: "9" })).toEqual({ start: "0", end: String(BASE + 7n * SECOND + 1n) });
    takeOlder(buffer, [line(7, "c1"), line(7, "c2"), line(6, "b")], 3);
    takeOlder(buffer, [line(6, "b")], 3);
    expect(buffer.lines.map(({ line: text }) => text)).toEqual(["e", "d", "c1", "c2", "b"]);
    expect(buffer.complete).toBe(true);
  });

  it("ends where one instant has more lines than a page", () => {
    const buffer = emptyBuffer();
    takeOlder(buffer, [line(7, "a"), line(7, "b")], 2);
    takeOlder(buffer, [line(7, "a"), line(7, "b")], 2);
    expect(buffer.complete).toBe(true);
  });

  it("puts the tail's lines on top, in order, each once", () => {
    const buffer = emptyBuffer();
    takeOlder(buffer, [line(5, "b"), line(3, "a")], 10);
    expect(takeNewer(buffer, [line(6, "c"), line(5, "b")])).toBe(1);
    expect(takeNewer(buffer, [line(4, "late")])).toBe(1);
    expect(buffer.lines.map(({ line: text }) => text)).toEqual(["c", "b", "late", "a"]);
  });

  it("ranks the values of each field and leaves ids out", () => {
    const lines = [1, 2, 3].map((at) => ({ ...line(at, "x"), metadata: { status: at > 1 ? "200" : "500", trace_id: `${at}` } }));
    const facets = facetsOf(lines);
    expect(facets.map(({ key }) => key)).toEqual(["level", "service_name", "status"]);
    expect(facets.find(({ key }) => key === "status")?.values).toEqual([["200", 2], ["500", 1]]);
  });

  it("is exported oldest first with every digit of its time", () => {
    const lines = [line(2, "later"), { ...line(1, "first"), nanos: "1790000001000000007" }];
    expect(instantText("1790000001000000007")).toMatch(/^2026-.*:21\.000000007Z$/);
    expect(exportText(lines, "text").split("\n")[0]).toMatch(/ first$/);
    expect(JSON.parse(exportText(lines, "json").split("\n")[1] ?? "")).toMatchObject({ line: "later", level: "info" });
  });
});

describe("the histogram", () => {
  const range = { startMs: 0, endMs: 30_000 };

  it("counts a point for the step that ends there", () => {
    const counted = [{ value: "error", total: 5, points: [[10_000, 2], [30_000, 3]] as const }];
    expect(countedSlices(counted, range, 10_000).map(({ bad }) => bad)).toEqual([2, 0, 3]);
  });

  it("without counts shows the loaded lines", () => {
    const at = (ms: number): StoredLine => ({ nanos: `${ms}000000`, stream: { level: "warn" }, line: "" });
    expect(loadedSlices([at(1000), at(29_000), at(29_500)], range, 10_000).map(({ warn }) => warn)).toEqual([1, 0, 2]);
  });
});

describe("rows of a long list", () => {
  it.each([
    ["even", planRows(1000, 20, { index: 3, height: 100 })],
    ["uneven", planUneven(Array.from({ length: 1000 }, () => 20), 1000, { index: 3, height: 100 })],
  ])("%s: an opened row pushes those below it", (_, plan) => {
    expect([plan.top(3), plan.top(4), plan.total]).toEqual([60, 180, 20_100]);
    expect([plan.at(79), plan.at(179), plan.at(180)]).toEqual([3, 3, 4]);
  });

  it("a million rows fit a box that browsers can lay out, and both ends are reached", () => {
    const total = 24_000_000;
    const map = mapScroll(total, 600);
    expect(map.height).toBeLessThan(10_000_000);
    expect(map.toOffset(map.height - 600)).toBeCloseTo(total - 600);
    expect(map.toScroll(map.toOffset(1234))).toBeCloseTo(1234);
  });
});
