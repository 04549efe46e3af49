// Where the fleet under test is and what a person needs to use it.
//
// A running fleet is named by QUINTET_URL and QUINTET_DATA_DIR (or by the single values below).
// Otherwise one is started with `$QUINTET_XTASK up --detach --bin-dir $QUINTET_BIN_DIR` in a
// directory of its own and stopped at the end.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** As `cargo xtask up` writes them. */
const ADMINISTRATOR = "admin@localhost.test";
const SECRETS = {
  QUINTET_ADMIN_PASSWORD: "administrator-password",
  QUINTET_CLIENT_SECRET: "demo-client-secret",
  QUINTET_BROWSER_CLIENT_SECRET: "console-client-secret",
};

const START_WITHIN_MS = 150_000;
const STOP_WITHIN_MS = 60_000;

/** The environment the suites read, for the fleet whose data is in `directory`. */
export async function environmentOf(url, directory) {
  const environment = {
    QUINTET_URL: url,
    QUINTET_DATA_DIR: directory,
    QUINTET_CA: join(directory, "tls", "ca.pem"),
    QUINTET_ADMIN_EMAIL: ADMINISTRATOR,
    QUINTET_CLIENT_ID: "demo",
    QUINTET_BROWSER_CLIENT_ID: "console",
  };
  for (const [name, file] of Object.entries(SECRETS)) {
    environment[name] = (await readFile(join(directory, "secrets", file), "utf8")).trim();
  }
  return environment;
}

/** Whether this run can start fleets of its own. */
export function canStart() {
  return Boolean(process.env.QUINTET_XTASK && process.env.QUINTET_BIN_DIR);
}

/** Starts a fleet; `stop` drains it and removes its data. */
export async function start(options = []) {
  const directory = await mkdtemp(join(tmpdir(), "quintet-"));
  const [httpsPort, httpPort] = await freePorts(2);
  const xtask = process.env.QUINTET_XTASK;
  const stop = async () => {
    await run(xtask, ["down", "--data-dir", directory], STOP_WITHIN_MS);
    await rm(directory, { recursive: true, force: true });
  };
  const ports = ["--https-port", String(httpsPort), "--http-port", String(httpPort)];
  const args = [
    "up",
    "--detach",
    "--data-dir",
    directory,
    "--bin-dir",
    process.env.QUINTET_BIN_DIR,
    ...ports,
    ...options,
  ];
  try {
    await run(xtask, args, START_WITHIN_MS);
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  return { url: `https://localhost:${httpsPort}`, directory, stop };
}

/** Runs a program to its end; its output is in the error if it fails. */
function run(program, args, withinMs) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], timeout: withinMs });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${program} ${args.join(" ")} ended with ${code ?? signal}:\n${output}`));
    });
  });
}

/** Ports that were free a moment ago, all held at once so that they differ. */
async function freePorts(count) {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise((resolve, reject) => {
          const server = createServer();
          server.on("error", reject);
          server.listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
