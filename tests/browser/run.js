// Runs the suites against one fleet: the one that QUINTET_URL names, or one started for this run.

import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { canStart, environmentOf, start } from "./support/fleet.js";

/** Of a whole file too; single waits are bounded in the tests. */
const TEST_TIMEOUT_MS = 600_000;

async function main() {
  const given = process.env.QUINTET_URL;
  if (!given && !canStart()) {
    console.error(
      "error: set QUINTET_URL and QUINTET_DATA_DIR of a running fleet, or QUINTET_XTASK and QUINTET_BIN_DIR to start one",
    );
    return 64;
  }
  const own = given ? null : await start();
  const directory = own?.directory ?? process.env.QUINTET_DATA_DIR;
  try {
    const environment = directory ? await environmentOf(own?.url ?? given, directory) : {};
    return await suites({ ...process.env, ...environment });
  } finally {
    await own?.stop();
  }
}

async function suites(environment) {
  const folder = fileURLToPath(new URL("suites", import.meta.url));
  const wanted = process.argv.slice(2);
  const files = (await readdir(folder))
    .filter((name) => name.endsWith(".test.js") && (wanted.length === 0 || wanted.some((part) => name.includes(part))))
    .sort()
    .map((name) => `${folder}/${name}`);
  const args = [
    "--test",
    "--test-concurrency=1",
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    "--test-reporter=spec",
    ...files,
  ];
  const child = spawn(process.execPath, args, {
    stdio: "inherit",
    // The certificate authority of the fleet; Node reads it at its start only.
    env: { ...environment, NODE_EXTRA_CA_CERTS: environment.QUINTET_CA ?? "" },
  });
  return new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
}

process.exitCode = await main();
