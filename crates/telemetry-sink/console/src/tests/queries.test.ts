import { describe, expect, it } from "vitest";
import { logQuery, quote } from "../lib/logql";
import { contextAt, legendNames, rank, seriesName } from "../lib/promql";
import { href, match, serverOwns } from "../lib/routes";
import { classify } from "../lib/search";
import { parseDuration, rangeCovering, rangeEnding, rangeName, rateWindow, stepFor } from "../lib/time-range";

const NOTHING = { service: "", level: "", text: "", requestId: "", traceId: "" };
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";

describe("log queries", () => {
  it("without filters select every service", () => {
    expect(logQuery(NOTHING, "service_name", "level")).toBe('{service_name=~".+"}');
  });

  it("combine matchers, text and ids", () => {
    const filter = { service: "core-api", level: "error", text: "sold out", requestId: "r1", traceId: TRACE };
    expect(logQuery(filter, "service_name", "level")).toBe(
      `{service_name="core-api", level="error"} |= "sold out" | request_id="r1" | trace_id="${TRACE}"`,
    );
  });

  it("text cannot leave its quotes", () => {
    expect(quote('"} or \\ \n')).toBe('"\\"} or \\\\ \\n"');
  });
});

describe("PromQL completion", () => {
  it.each([
    ["rate(http_s", { kind: "name", prefix: "http_s", from: 5 }],
    ["up{jo", { kind: "label", prefix: "jo", metric: "up" }],
    ["up{", { kind: "label", prefix: "", metric: "up" }],
    ['up{job="co', { kind: "value", prefix: "co", metric: "up", label: "job" }],
    ['up{job="core-api", ins', { kind: "label", prefix: "ins", metric: "up" }],
    ["rate(up[5", { kind: "none" }],
    ['label_replace(up, "a', { kind: "none" }],
    ["", { kind: "none" }],
  ])("%s", (text, expected) => expect(contextAt(text, text.length)).toMatchObject(expected));

  it("a brace inside a string opens nothing", () => {
    const text = 'up{job="{"} + ra';
    expect(contextAt(text, text.length)).toMatchObject({ kind: "name", prefix: "ra" });
  });

  it("prefers candidates that begin with the prefix", () => {
    expect(rank(["http_requests", "requests_total"], "req")).toEqual(["requests_total", "http_requests"]);
  });
});

describe("series names", () => {
  it("sort their labels", () =>
    expect(seriesName({ __name__: "up", job: "b", instance: "a" })).toBe('up{instance="a", job="b"}'));

  it("in a legend drop a label that repeats another", () => {
    const series = ["a", "b"].map((name) => ({ instance: name, job: name }));
    expect(legendNames(series)).toEqual(["a", "b"]);
  });

  it("in a legend keep only what differs", () => {
    expect(
      legendNames([
        { job: "x", service: "a" },
        { job: "x", service: "b" },
      ]),
    ).toEqual(["a", "b"]);
  });
});

describe("addresses", () => {
  it.each([
    ["/", { name: "fleet" }],
    [`/traces/${TRACE}`, { name: "trace", id: TRACE }],
    ["/mail/1%2Fa", { name: "mail", id: "1/a" }],
    ["/mail", { name: "mail", id: null }],
    ["/jobs/search", { name: "job-search" }],
    ["/jobs/dead", { name: "dead-letters" }],
    ["/jobs/schedules", { name: "schedules" }],
    ["/jobs/constructor", { name: "job", id: "constructor" }],
    ["/nothing", { name: "unknown" }],
    ["/traces/a/b", { name: "unknown" }],
    ["/logs/%", { name: "unknown" }],
  ])("%s", (path, route) => expect(match(path)).toEqual(route));

  it("of the server are left alone", () => {
    expect(serverOwns("/jobs/v1/jobs")).toBe(true);
    expect(serverOwns("/jobs/job_1")).toBe(false);
  });

  it("leave out empty values", () => expect(href("/logs", { service: "a b", text: "" })).toBe("/logs?service=a+b"));
});

describe("search", () => {
  it.each([
    [` ${TRACE.toUpperCase()} `, { kind: "trace", id: TRACE }],
    [`00-${TRACE}-00f067aa0ba902b7-01`, { kind: "trace", id: TRACE }],
    ["0198c0de-7a11-7cc0-8000-1234567890ab", { kind: "request", id: "0198c0de-7a11-7cc0-8000-1234567890ab" }],
    ["job_01k0000000e008000000000000", { kind: "job", id: "job_01k0000000e008000000000000" }],
    ["two words", { kind: "none" }],
    ["", { kind: "none" }],
  ])("%s", (text, expected) => expect(classify(text)).toEqual(expected));
});

describe("time ranges", () => {
  it("fall back when the URL holds something else", () => expect(rangeName("1y", "15m")).toBe("15m"));
  it("parse durations", () => expect([parseDuration("15m"), parseDuration("x")]).toEqual([900, null]));
  it("choose a round step", () => {
    expect(stepFor(rangeEnding("1h", 0))).toBe(15);
    expect(stepFor(rangeEnding("7d", 0))).toBe(3600);
  });
  it("reach back as far as is asked, as far as there is", () => {
    expect([rangeCovering(1), rangeCovering(3_600_001), rangeCovering(1e12)]).toEqual(["5m", "6h", "7d"]);
  });
  it("keep a rate window above the scrape interval", () => expect(rateWindow(1)).toBe("30s"));
});
