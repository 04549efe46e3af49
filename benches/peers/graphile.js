// graphile-worker: its own performance test's settings for batches, its defaults for single jobs.
import { makeWorkerUtils, run, Logger } from "graphile-worker";
import pg from "pg";

const silent = new Logger(() => () => {});

export async function open(url, clients, first) {
  const pgPool = new pg.Pool({ connectionString: url, max: Math.max(clients, 12) });
  pgPool.on("error", () => {});
  pgPool.on("connect", (client) => client.on("error", () => {}));
  const utils = await makeWorkerUtils({ pgPool, logger: silent });
  if (first) await utils.migrate();
  return {
    fill: async (jobs) => {
      for (let left = jobs; left > 0; left -= 10_000) {
        const some = Array.from({ length: Math.min(left, 10_000) }, () => ({ identifier: "noop", payload: {} }));
        await utils.addJobs(some);
      }
    },
    enqueue: (args) => utils.addJob("noop", args),
    empty: async () => {
      const { rows } = await pgPool.query(
        "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS any",
      );
      return !rows[0].any;
    },
    work: async (load, handler) => {
      const worker = {
        concurrentJobs: load.concurrency,
        ...(load.batched ? { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {}),
      };
      return run({
        pgPool,
        logger: silent,
        noHandleSignals: true,
        taskList: { noop: handler },
        preset: { worker },
      });
    },
    close: async () => {
      await utils.release();
      await pgPool.end();
    },
  };
}
