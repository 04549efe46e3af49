// One queue of npm under one load, as `cargo xtask bench worker` asks for it.
//
// Argument: the load as JSON. It prepares, says {"ready":true}, waits for a line, works, says its result and waits
// for the end of its input, so that the caller can read what its processes have used.
import { fork } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import * as graphile from "./graphile.js";
import * as pgBoss from "./pg-boss.js";

const QUEUES = { "graphile-worker": graphile, "pg-boss": pgBoss };
const TASKS = { drain, mixed, enqueue, pickup };

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** Counts runs; `done` resolves with the time when all have begun. */
function counter(total) {
  let runs = 0;
  let first;
  let finish;
  const done = new Promise((resolve) => (finish = resolve));
  const run = () => {
    first ??= process.hrtime.bigint();
    runs += 1;
    if (runs === total) finish();
  };
  return { run, done, begun: () => first };
}

const seconds = (from) => Number(process.hrtime.bigint() - from) / 1e9;

async function until(empty) {
  while (!(await empty())) await sleep(1);
}

/** All jobs are there; how long from the first one's start until no job is left in the database. */
async function drain(queue, load, go) {
  await queue.fill(load.jobs);
  const children = load.processes > 1 ? await helpers(load) : [];
  await go();
  if (children.length > 0) return drainWith(children, queue);
  const count = counter(load.jobs);
  const worker = await queue.work(load, handler(load, count.run));
  await count.done;
  await until(queue.empty);
  const took = seconds(count.begun());
  await worker.stop();
  return { seconds: took };
}

/** The same with several processes: the earliest start of a job counts. */
async function drainWith(children, queue) {
  const first = children.map(async (child) => BigInt((await once(child, "message"))[0].begun));
  for (const child of children) child.send("go");
  const begun = await Promise.any(first);
  await until(queue.empty);
  const took = seconds(begun);
  for (const child of children) child.send("stop");
  return { seconds: took };
}

async function helpers(load) {
  const children = Array.from({ length: load.processes }, () =>
    fork(fileURLToPath(import.meta.url), [JSON.stringify({ ...load, helper: true })]),
  );
  await Promise.all(children.map((child) => once(child, "message")));
  return children;
}

async function help(queue, load) {
  const next = async (wanted) => {
    for (;;) {
      const [message] = await once(process, "message");
      if (message === wanted) return;
    }
  };
  const go = next("go");
  const stop = next("stop");
  process.send({ ready: true });
  await go;
  let told = false;
  const worker = await queue.work(load, () => {
    // CLOCK_MONOTONIC, which all processes share.
    if (!told) process.send({ begun: process.hrtime.bigint().toString() });
    told = true;
  });
  await stop;
  await worker.stop();
  process.disconnect();
}

const handler = (load, run) =>
  load.handler_ms > 0
    ? async () => {
        run();
        await sleep(load.handler_ms);
      }
    : run;

/** `clients` loops that each enqueue one job in a transaction of its own after the other. */
async function clients(queue, load) {
  let left = load.jobs;
  const one = async () => {
    while (left-- > 0) await queue.enqueue({});
  };
  await Promise.all(Array.from({ length: load.clients }, one));
}

async function enqueue(queue, load, go) {
  await go();
  const begun = process.hrtime.bigint();
  await clients(queue, load);
  return { seconds: seconds(begun) };
}

async function mixed(queue, load, go) {
  const count = counter(load.jobs);
  const worker = await queue.work(load, handler(load, count.run));
  await go();
  const begun = process.hrtime.bigint();
  await Promise.all([clients(queue, load), count.done]);
  await until(queue.empty);
  const took = seconds(begun);
  await worker.stop();
  return { seconds: took };
}

/** Jobs at random moments; how long from each one's commit until its handler began. */
async function pickup(queue, load, go) {
  const started = new Map();
  const worker = await queue.work(load, (args) => started.set(args.turn, process.hrtime.bigint()));
  await sleep(500);
  await go();
  const committed = [];
  for (let turn = 0; turn < load.jobs; turn += 1) {
    // Exponential gaps: a Poisson process.
    await sleep((-Math.log(1 - Math.random()) * 1000) / load.rate);
    await queue.enqueue({ turn });
    committed.push(process.hrtime.bigint());
  }
  while (started.size < load.jobs) await sleep(5);
  await worker.stop();
  const late = committed.map((at, turn) => Math.max(0, Number(started.get(turn) - at) / 1e6));
  return { latencies_ms: late };
}

const load = JSON.parse(process.argv[2]);
const queue = await QUEUES[load.queue].open(load.url, load.clients, !load.helper);
if (load.helper) {
  await help(queue, load);
} else {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const go = async () => {
    say({ ready: true });
    await lines.next();
  };
  say(await TASKS[load.task](queue, load, go));
  await lines.next();
}
await queue.close();
process.exit(0);
