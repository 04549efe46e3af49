import { describe, expect, it } from "vitest";
import { stack } from "../lib/chart-data";
import { DOCS, hintFor } from "../lib/promql-docs";
import { periodQuery, rangeOf, readPeriod, shifted } from "../lib/time-range";

describe("a period", () => {
  it("of two instants survives the address", () => {
    const fixed = { startMs: 1_000_000, endMs: 2_000_000 };
    const period = readPeriod(new URLSearchParams(periodQuery({ fixed })), "1h");
    expect(rangeOf(period, 9e12)).toEqual(fixed);
  });

  it.each(["from=5&to=4", "from=x&to=9", "from=1&to=1e20", "range=nonsense"])("that makes no sense is the fallback: %s", (query) => {
    expect(readPeriod(new URLSearchParams(query), "1h")).toEqual({ name: "1h", fixed: null });
  });

  it("moves by its length and grows around its middle", () => {
    expect(shifted({ startMs: 0, endMs: 100 }, -0.5)).toEqual({ startMs: -50, endMs: 50 });
    expect(shifted({ startMs: 0, endMs: 100 }, 0, 2)).toEqual({ startMs: -50, endMs: 150 });
  });
});

describe("hints", () => {
  it.each([
    ["http_requests_total", 'rate(http_requests_total[60s])'],
    ['a_seconds_bucket{job="x"}', 'histogram_quantile(0.99, sum by (le) (rate(a_seconds_bucket{job="x"}[60s])))'],
  ])("say what to ask of %s", (asked, better) => expect(hintFor(asked, "60s")?.expression).toBe(better));

  it.each(["rate(http_requests_total[1m])", "up", "sum(x_total)", ""])("leave %s alone", (asked) => {
    expect(hintFor(asked, "60s")).toBeNull();
  });
});

describe("stacked series", () => {
  it("stand on top of each other, gaps and hidden ones adding nothing", () => {
    const data = [[1, 2], [1, null], [10, 10], [100, 100]] as never;
    expect(stack(data, [false, true, false])).toEqual([[1, 2], [1, 0], [10, 10], [101, 100]]);
  });
});

it("every function of the commonest dashboards is documented", () => {
  const wanted = "sum rate histogram_quantile increase avg max topk count label_replace irate round clamp_min min".split(" ");
  expect(wanted.filter((name) => !DOCS.has(name))).toEqual([]);
});
