// What the charts of the queue ask the sink for.

import type { Plot } from "../components/PlotPanel";
import { quote } from "./logql";

const label =
  (name: string) =>
  (series: { readonly labels: Readonly<Record<string, string>> }): string =>
    series.labels[name] ?? "all";

const p = (quantile: number, by: string, metric: string, matchers: string, window: string): string =>
  `histogram_quantile(${quantile}, sum by (${by}) (rate(${metric}_bucket${matchers}[${window}])))`;

/** Runs after which their job is not tried again. */
const ENDS = 'outcome=~"completed|discarded|cancelled"';

function withQueue(matcher: string, queue: string): string {
  return queue === "" ? `{${matcher}}` : `{${matcher}, queue=${quote(queue)}}`;
}

/** Of one queue, or of all when it is empty. A run's length is counted by kind alone: its charts stay those of all. */
export function jobPlots(queue: string): readonly Plot[] {
  const matchers = queue === "" ? "" : `{queue=${quote(queue)}}`;
  const anyQueue = queue === "" ? "" : ", all queues";
  const finished = `quintet_jobs_finished_total${matchers}`;
  const depth = `max by (queue, state) (quintet_jobs_depth${withQueue('state!="discarded"', queue)})`;
  return [
    {
      title: "Jobs in the queue, by state",
      unit: "plain",
      what: "Depths are counted every few seconds.",
      busyOnly: true,
      // Every node shows the same count of the one database. Dead letters stay, and would flatten the rest.
      lines: () => [{ query: `sum by (state) (${depth})`, name: label("state") }],
    },
    {
      title: "Age of the oldest due job",
      unit: "seconds",
      what: "Ages are counted every few seconds.",
      busyOnly: true,
      lines: () => [{ query: `max by (queue) (quintet_jobs_oldest_due_seconds${matchers})`, name: label("queue") }],
    },
    {
      title: "Enqueued and ended for good",
      unit: "rate",
      what: "Place an order in the shop: its receipt is sent by a job.",
      lines: (window) => [
        { query: `sum(rate(quintet_jobs_enqueued_total${matchers}[${window}]))`, name: () => "enqueued" },
        { query: `sum(rate(quintet_jobs_finished_total${withQueue(ENDS, queue)}[${window}]))`, name: () => "ended" },
      ],
    },
    {
      title: "Runs that ended, by outcome",
      unit: "rate",
      what: "Outcomes appear once jobs have run.",
      busyOnly: true,
      lines: (window) => [{ query: `sum by (outcome) (rate(${finished}[${window}]))`, name: label("outcome") }],
    },
    {
      title: "Runs that ended, by kind",
      unit: "rate",
      what: "Kinds appear once jobs have run.",
      busyOnly: true,
      lines: (window) => [{ query: `topk(8, sum by (kind) (rate(${finished}[${window}])))`, name: label("kind") }],
    },
    {
      title: "Wait from due to begun",
      unit: "seconds",
      what: "Waits are measured where async-worker runs the jobs itself.",
      lines: (window) => [
        { query: p(0.5, "le", "quintet_job_wait_seconds", matchers, window), name: () => "p50" },
        { query: p(0.99, "le", "quintet_job_wait_seconds", matchers, window), name: () => "p99" },
      ],
    },
    {
      title: `Running at a time, by kind${anyQueue}`,
      unit: "plain",
      what: "Lengths are measured where async-worker runs the jobs itself.",
      busyOnly: true,
      // The seconds that runs took in each second: how many there were at a time, on average.
      lines: (window) => [
        { query: `sum by (kind) (rate(quintet_job_duration_seconds_sum[${window}]))`, name: label("kind") },
      ],
    },
    {
      title: `p99 length of a run, by kind${anyQueue}`,
      unit: "seconds",
      what: "Lengths are measured where async-worker runs the jobs itself.",
      lines: (window) => [
        { query: p(0.99, "kind, le", "quintet_job_duration_seconds", "", window), name: label("kind") },
      ],
    },
  ];
}
