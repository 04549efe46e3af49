import { afterEach, describe, expect, it, vi } from "vitest";
import { createSilence, readRule, type WireRule } from "../api/alerts";
import { ApiError } from "../api/http";
import { readGraph } from "../api/jaeger";
import { countLines, detectedFields, logPage, readTailed } from "../api/loki";
import { instant } from "../api/wire";

const RANGE = { startMs: 0, endMs: 60_000 };

function answering(status: number, body: string): void {
  vi.stubGlobal("fetch", async () => new Response(body, { status }));
}

async function refusalOf(asked: Promise<unknown>): Promise<ApiError> {
  const refused: unknown = await asked.catch((cause: unknown) => cause);
  if (refused instanceof ApiError) return refused;
  throw new Error("it was not refused");
}

afterEach(() => vi.unstubAllGlobals());

describe("an instant", () => {
  it("that never was is none", () => expect(instant("0001-01-01T00:00:00Z")).toBeNull());

  it("is read otherwise", () => expect(instant("2026-01-01T00:00:00Z")).toBe(Date.UTC(2026, 0, 1)));
});

describe("a rule", () => {
  const rule: WireRule = { type: "alerting", name: "Down", query: "up == 0", lastEvaluation: "0001-01-01T00:00:00Z" };

  it.each([
    ["ok", "good"],
    ["err", "failing"],
    ["unknown", "unknown"],
    [undefined, "unknown"],
  ])("of health %s is %s", (health, expected) => {
    expect(readRule(health === undefined ? rule : { ...rule, health })).toMatchObject({ health: expected, lastEvaluationMs: null });
  });

  it("says how long it keeps firing, and its alerts since when they are only kept", () => {
    const alert = { labels: {}, state: "firing", activeAt: "2026-01-01T00:00:00Z", value: "1" };
    const kept = { ...alert, keepFiringSince: "2026-01-01T00:05:00Z" };
    const read = readRule({ ...rule, keepFiringFor: 600, alerts: [alert, kept] });
    expect(read.keepFiringSeconds).toBe(600);
    expect(read.alerts.map(({ keptSinceMs }) => keptSinceMs)).toEqual([null, Date.UTC(2026, 0, 1, 0, 5)]);
  });
});

describe("the service graph", () => {
  it("says whether spans were left out", () => {
    expect(readGraph({ nodes: [], edges: [], truncated: true }).truncated).toBe(true);
    expect(readGraph({ nodes: [], edges: [], truncated: false }).truncated).toBe(false);
  });
});

describe("an event of the tail", () => {
  it("brings lines and says how many it left out", () => {
    const event = '{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["2","y"]]}],"dropped_entries":null,"dropped":7}';
    const { lines, dropped } = readTailed(event);
    expect([lines.map(({ line }) => line), dropped]).toEqual([["y", "x"], 7]);
  });

  it("may bring nothing but the number", () => {
    expect(readTailed('{"streams":null,"dropped":3}')).toEqual({ lines: [], dropped: 3 });
  });
});

describe("a refusal", () => {
  const silence = { matchers: [], startsMs: 0, endsMs: 1, createdBy: "a", comment: "b" };

  it("of Alertmanager's API is read without its quotes", async () => {
    answering(400, '"a silence \\"must\\" end"');
    expect((await refusalOf(createSilence(silence))).detail).toBe('a silence "must" end');
  });

  it.each([
    ["counts", () => countLines("q", "level", RANGE, 15)],
    ["fields", () => detectedFields("q", RANGE)],
  ])("because of a limit is no missing route: %s", async (_, ask) => {
    answering(400, "the query reads too many lines\n");
    expect(await refusalOf(ask())).toMatchObject({ status: 400, detail: "the query reads too many lines\n" });
  });

  it("as a missing route leaves counts and fields out", async () => {
    answering(404, "{}");
    expect([await countLines("q", "level", RANGE, 15), await detectedFields("q", RANGE)]).toEqual([null, []]);
  });
});

describe("a search for lines", () => {
  it("with a query that counts says so", async () => {
    answering(200, '{"data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}}');
    expect(await refusalOf(logPage('sum(count_over_time({a="b"}[1m]))', { start: "0", end: "1" }, 10))).toMatchObject({
      code: "no_lines",
    });
  });
});
