// HTTPS to a fleet whose certificate authority this process was not started with.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";

/** A function that sends one request to the fleet and returns the decoded answer. */
export async function clientOf({ url, directory }) {
  const ca = await readFile(join(directory, "tls", "ca.pem"));
  return (method, path, { headers = {}, body } = {}) =>
    new Promise((resolve, reject) => {
      const sent = request(url + path, { method, headers, ca, timeout: 30_000 }, (answer) => {
        let text = "";
        answer.setEncoding("utf8");
        answer.on("data", (chunk) => (text += chunk));
        answer.on("end", () => {
          try {
            assert.ok(answer.statusCode < 300, `${method} ${path}: ${answer.statusCode} ${text}`);
            resolve(JSON.parse(text));
          } catch (error) {
            reject(error);
          }
        });
      });
      sent.on("timeout", () => sent.destroy(new Error(`${method} ${path}: no answer`)));
      sent.on("error", reject);
      sent.end(body);
    });
}
