import { describe, expect, it } from "vitest";
import type { JobFailure } from "../api/jobs";
import { shownLines } from "../components/PlotPanel";
import { inSteps, STEP } from "../lib/bulk-run";
import { actionsOn, filterOf, fromLocalField, jobCount, jobsPath, localField, narrowing } from "../lib/job-filter";
import { facetsOf } from "../lib/job-facets";
import { lifeOf } from "../lib/job-life";
import { byLevel, readWorkflow } from "../api/workflows";
import { readLimit } from "../api/jobs";
import { isFull, rateText } from "../lib/limits";
import { match } from "../lib/routes";
import { jobPlots } from "../lib/job-plots";
import { progressText } from "../lib/job-state";

const NOW = 1_000_000;
const JOB = {
  state: "ready",
  attempt: 0,
  maxAttempts: 3,
  enqueuedMs: 1000,
  runMs: 1000,
  startedMs: null,
  finishedMs: null,
  lastError: "",
};

function failure(attempt: number, startedMs: number): JobFailure {
  return { attempt, startedMs, endedMs: startedMs + 5, worker: "node-1", error: `error ${attempt}` };
}

const titles = (...given: Parameters<typeof lifeOf>): string[] => lifeOf(...given).map(({ title }) => title);

describe("a job's life", () => {
  it("begins with being enqueued and ends with what comes next", () => {
    expect(titles(JOB, [], NOW)).toEqual(["Enqueued", "Attempt 1 of 3 is due"]);
    expect(titles({ ...JOB, runMs: NOW + 1 }, [], NOW)).toEqual(["Enqueued", "Attempt 1 of 3 is planned"]);
  });

  it("shows each failure with its error, its length and its worker", () => {
    const life = lifeOf(
      { ...JOB, state: "completed", attempt: 2, startedMs: 30, finishedMs: 31 },
      [failure(1, 10)],
      NOW,
    );
    expect(life.map(({ title }) => title)).toEqual(["Enqueued", "Attempt 1 failed", "Attempt 2 completed"]);
    expect(life[1]).toMatchObject({ tone: "warn", error: "error 1", detail: "after 5 ms on node-1", atMs: 15 });
    expect(life[2]).toMatchObject({ tone: "good", detail: "after 1 ms" });
  });

  it("marks the failure that made it a dead letter, and tells its error once", () => {
    const dead = { ...JOB, state: "discarded", attempt: 2, finishedMs: 40, lastError: "error 2" };
    const life = lifeOf(dead, [failure(1, 10), failure(2, 20)], NOW);
    expect(life.map(({ tone }) => tone)).toEqual(["idle", "warn", "bad", "bad"]);
    expect(life.map(({ error }) => error)).toEqual(["", "error 1", "error 2", ""]);
    expect(lifeOf(dead, [], NOW).at(-1)?.error).toBe("error 2");
  });

  it.each([
    ["between two lives", { ...JOB, state: "discarded", attempt: 1 }, [failure(2, 10), failure(1, 20)]],
    ["while it waits again", JOB, [failure(1, 10)]],
    ["while it runs again", { ...JOB, state: "running", attempt: 1 }, [failure(1, 10)]],
  ])("says that it was redriven: %s", (_, job, failures) => {
    expect(titles(job, failures, NOW)).toContain("Redriven");
  });

  it.each([
    ["waits for its second attempt", { ...JOB, attempt: 1 }],
    ["runs for the second time", { ...JOB, state: "running", attempt: 2 }],
    ["was cancelled after a failure", { ...JOB, state: "cancelled", attempt: 1 }],
  ])("does not say so of a job that %s", (_, job) => {
    expect(titles(job, [failure(1, 10)], NOW)).not.toContain("Redriven");
  });
});

describe("a filter of jobs", () => {
  it("is read from a URL and written into one", () => {
    const filter = filterOf(new URLSearchParams("state=discarded&kind=email.send&error=a+b&from=2026-01-01T00:00:00Z"));
    expect(filter).toMatchObject({ state: "discarded", kind: "email.send", error: "a b", queue: "", before: "" });
    expect(jobsPath(filter, "job_1")).toBe(
      "/jobs/search?state=discarded&kind=email.send&error=a+b&from=2026-01-01T00%3A00%3A00Z&cursor=job_1",
    );
  });

  it("has no state and no instant that there is not", () => {
    expect(filterOf(new URLSearchParams("state=lost&from=tomorrow"))).toMatchObject({ state: "", from: "" });
  });

  it("keeps an instant through its form field", () => {
    const instant = "2026-03-04T05:06:00.000Z";
    expect(fromLocalField(localField(instant))).toBe(instant);
    expect([localField(""), fromLocalField("")]).toEqual(["", ""]);
  });

  it("is said in words", () => {
    const filter = { state: "discarded", kind: "k", queue: "q", error: "e", from: "", before: "B" };
    expect(narrowing(filter, (value) => `<${value}>`)).toBe(
      "of kind k, in the queue q, whose last error contains “e”, enqueued before <B>",
    );
    expect([jobCount(1, "discarded"), jobCount(4120, "ready")]).toEqual(["1 dead letter", "4,120 waiting jobs"]);
  });

  it("allows only what the queue does to jobs of a state", () => {
    expect(actionsOn("discarded")).toEqual(["redrive", "delete"]);
    expect(actionsOn("ready")).toEqual(["cancel"]);
    expect([...actionsOn("running"), ...actionsOn("completed"), ...actionsOn("")]).toEqual([]);
  });
});

describe("a bulk action", () => {
  it("never changes more than was shown, however many there are", async () => {
    const asked: number[] = [];
    const step = async (limit: number) => {
      asked.push(limit);
      return { changed: limit, more: true };
    };
    expect(await inSteps(2500, step)).toBe(2500);
    expect(asked).toEqual([STEP, STEP, 500]);
  });

  it("ends when nothing is left, and when nothing changes", async () => {
    expect(await inSteps(10, async () => ({ changed: 3, more: false }))).toBe(3);
    expect(await inSteps(10, async () => ({ changed: 0, more: true }))).toBe(0);
  });
});

describe("the facets of a page", () => {
  const job = (kind: string, lastError: string) => ({ kind, queue: "default", lastError });

  it("are what tells its jobs apart, the commonest first", () => {
    const jobs = [job("b", "Timeout: 3 s"), job("a", "Timeout: 5 s"), job("b", "no address"), job("b", "")];
    expect(facetsOf(jobs)).toEqual([
      { name: "kind", value: "b", count: 3 },
      { name: "kind", value: "a", count: 1 },
      { name: "error", value: "Timeout", count: 2 },
      { name: "error", value: "no address", count: 1 },
    ]);
  });

  it("are none where all are alike", () => expect(facetsOf([job("a", "e"), job("a", "e")])).toEqual([]));
});

describe("the charts of a queue", () => {
  it("leave out what has no figures, and what stood still beside what did not", () => {
    const line = (name: string, ...values: number[]) => ({
      name,
      points: values.map((value, at) => [at, value] as const),
    });
    const lines = [line("none", NaN, NaN), line("still", 0, 0), line("busy", 0, 1)];
    expect(shownLines(lines, false).map(({ name }) => name)).toEqual(["still", "busy"]);
    expect(shownLines(lines, true).map(({ name }) => name)).toEqual(["busy"]);
    expect(shownLines(lines.slice(0, 2), true).map(({ name }) => name)).toEqual(["still"]);
  });

  it("ask for that queue alone, whatever its name", () => {
    const queries = jobPlots('a"b').flatMap((plot) => plot.lines("60s").map(({ query }) => query));
    expect(queries).toContain('sum(rate(quintet_jobs_enqueued_total{queue="a\\"b"}[60s]))');
    expect(queries.join("\n")).toContain('{outcome=~"completed|discarded|cancelled", queue="a\\"b"}');
  });
});

describe("the progress of a job", () => {
  it("is said in numbers and words, and never as more than all", () => {
    expect(progressText({ done: 3, total: 10, message: "reading files" })).toBe("3 of 10 (30 %): reading files");
    expect(progressText({ done: 12, total: 10, message: "" })).toBe("12 of 10 (100 %)");
    expect(progressText({ done: 3, total: null, message: "" })).toBe("3");
    expect(progressText({ done: 0, total: 0, message: "" })).toBe("0 of 0");
  });
});

describe("a workflow", () => {
  const wire = {
    id: "wfl_1",
    name: "month",
    state: "running",
    jobs: 3,
    open: 1,
    failed: 0,
    graph: [
      { id: "job_1", name: "load", kind: "k", state: "completed", level: 0, after: [] },
      { id: "job_2", name: "left", kind: "k", state: "running", level: 1, after: [{ name: "load" }] },
      { id: "job_3", name: "sum", kind: "k", state: "blocked", level: 2, after: [{ name: "left", ignore_failure: true }] },
    ],
  };

  it("is shown level by level with what each job waits for", () => {
    const levels = byLevel(readWorkflow(wire).graph);
    expect(levels.map((jobs) => jobs.map((job) => job.name))).toEqual([["load"], ["left"], ["sum"]]);
    expect(levels[2]?.[0]?.after).toEqual([{ name: "left", ignoreFailure: true }]);
  });

  it("has a page beside those of jobs and batches", () => {
    expect(match("/jobs/wfl_1")).toEqual({ name: "workflow", id: "wfl_1" });
    expect(match("/jobs/bat_1")).toEqual({ name: "batch", id: "bat_1" });
    expect(match("/jobs/job_1")).toEqual({ name: "job", id: "job_1" });
  });

  it("makes a blocked job's life say what it waits for", () => {
    expect(titles({ ...JOB, state: "blocked" }, [], NOW)).toEqual(["Enqueued", "Waits for other jobs"]);
  });
});

describe("limits", () => {
  it.each([
    [{ runs: 100, perMs: 60_000, burst: 100 }, "100 a minute"],
    [{ runs: 1, perMs: 3_600_000, burst: 1 }, "1 an hour"],
    [{ runs: 5, perMs: 30_000, burst: 2 }, "5 every 30 seconds, 2 at once after a pause"],
    [{ runs: 5, perMs: 1500, burst: 5 }, "5 every 1500 ms"],
    [null, null],
  ])("are told in words", (rate, told) => expect(rateText(rate)).toBe(told));

  it("are full when as many run as may; what is not limited is never", () => {
    const limit = readLimit("kind", { kind: "k", global_concurrency: 2, running: 2, keys: [{ key: "acme", running: 1 }] });
    expect(isFull(limit)).toBe(true);
    expect(limit.keys).toEqual([{ key: "acme", running: 1 }]);
    expect(isFull(readLimit("queue", { queue: "q", rate: { runs: 1, per_ms: 1000, burst: 1 }, running: 9 }))).toBe(false);
    expect(match("/jobs/limits")).toEqual({ name: "limits" });
  });
});
