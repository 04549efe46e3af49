// pg-boss: batches through fetch and complete, which is its fastest way; its worker where single jobs or the time
// until a job is picked up are measured.
import pg from "pg";
import PgBoss from "pg-boss";

const QUEUE = "noop";
const BATCH = 500;

export async function open(url, clients) {
  const boss = new PgBoss({ connectionString: url, max: Math.max(clients, 12), supervise: false, schedule: false });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  await boss.createQueue(QUEUE);
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  return {
    fill: async (jobs) => {
      for (let left = jobs; left > 0; left -= 10_000) {
        const some = Math.min(left, 10_000);
        await boss.insert(Array.from({ length: some }, () => ({ name: QUEUE, data: {} })));
      }
    },
    enqueue: (args) => boss.send(QUEUE, args),
    empty: async () => {
      const { rows } = await pool.query(
        "SELECT EXISTS (SELECT FROM pgboss.job WHERE name = $1 AND state < 'completed') AS any",
        [QUEUE],
      );
      return !rows[0].any;
    },
    work: (load, handler) => (load.batched ? fetching(boss, load, handler) : polling(boss, load, handler)),
    close: async () => {
      await pool.end();
      await boss.stop({ graceful: false });
    },
  };
}

/** Four loops, each of which fetches a batch, runs it and completes it. */
async function fetching(boss, load, handler) {
  let stopped = false;
  const loop = async () => {
    while (!stopped) {
      const jobs = await boss.fetch(QUEUE, { batchSize: BATCH });
      if (jobs.length === 0) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        continue;
      }
      await Promise.all(jobs.map((job) => handler(job.data)));
      await boss.complete(QUEUE, jobs.map((job) => job.id));
    }
  };
  const loops = Array.from({ length: 4 }, loop);
  return {
    stop: async () => {
      stopped = true;
      await Promise.all(loops);
    },
  };
}

async function polling(boss, load, handler) {
  if (load.task !== "pickup") return one(boss, load, handler);
  await boss.work(QUEUE, { pollingIntervalSeconds: 0.5, batchSize: 10 }, (jobs) =>
    Promise.all(jobs.map((job) => handler(job.data))),
  );
  return { stop: () => boss.offWork(QUEUE) };
}

/** Its worker takes at most one batch in half a second, so single jobs are fetched in a loop as well. */
async function one(boss, load, handler) {
  let stopped = false;
  const loop = async () => {
    while (!stopped) {
      const [job] = await boss.fetch(QUEUE);
      if (job === undefined) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        continue;
      }
      await handler(job.data);
      await boss.complete(QUEUE, job.id);
    }
  };
  const loops = Array.from({ length: load.concurrency }, loop);
  return {
    stop: async () => {
      stopped = true;
      await Promise.all(loops);
    },
  };
}
