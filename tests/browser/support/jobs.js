// A program that enqueues and works jobs over HTTP, as one in another language does: what the queue's pages show is
// real work with chosen ends.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import * as oidc from "openid-client";

import { required, url } from "./browser.js";

/** The kind that `cargo xtask up` lets programs enqueue and work. */
export const KIND = "python.add";

export async function jobsClient() {
  const issuer = new URL(`${url}/identity`);
  const config = await oidc.discovery(issuer, required("QUINTET_CLIENT_ID"), required("QUINTET_CLIENT_SECRET"));
  const tokens = await oidc.clientCredentialsGrant(config, { scope: "jobs:enqueue jobs:work" });
  const call = async (path, body, headers = {}) => {
    const answer = await fetch(`${url}/jobs/v1/${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${tokens.access_token}`, "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    assert.ok(answer.ok, `${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  };

  /** Enqueues jobs of one queue; their ids. */
  const enqueue = async (queue, amount, more = {}) => {
    const jobs = Array.from({ length: amount }, (_, at) => ({
      kind: KIND,
      queue,
      args: { numbers: [at, 1], ledger: "2026-11" },
      ...more,
    }));
    const { data } = await call("jobs/bulk", { jobs }, { "idempotency-key": randomUUID() });
    return data.map(({ id }) => id);
  };

  /** Claims what is due in a queue and ends all of it in one way; how many jobs that were. */
  const work = async (queue, ended) => {
    const { lease, jobs } = await call("work/claim", { kinds: [KIND], queue, limit: 100 });
    if (jobs.length === 0) return 0;
    const said = { lease, jobs: jobs.map(({ id }) => ({ id, ...ended })) };
    assert.deepEqual(await call("work/acknowledge", said), { refused: [] });
    return jobs.length;
  };

  /** Claims what is due and leaves it running; the function that ends it. */
  const begin = async (queue) => {
    const { lease, jobs } = await call("work/claim", { kinds: [KIND], queue, limit: 100 });
    return () => call("work/acknowledge", { lease, jobs: jobs.map(({ id }) => ({ id, outcome: "completed" })) });
  };

  /** Makes a batch or a workflow; its id. */
  const group = async (path, body) => (await call(path, body, { "idempotency-key": randomUUID() })).id;
  return { enqueue, work, begin, group };
}

/** Ends that jobs of a real program come to. */
export const FAILED = {
  outcome: "failed",
  error: "ConnectionRefusedError: [Errno 111] the ledger at ledger.internal:5432 refused the connection",
  retry_after_ms: 0,
};
export const DISCARDED = { outcome: "discarded", error: "Discard: numbers[0] is no number: '12,5'" };
export const COMPLETED = { outcome: "completed" };
