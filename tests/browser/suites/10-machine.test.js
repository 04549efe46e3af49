// A look at the machine: refused without its scope, and what is seen with it.
//
// Nobody in the fleet of these tests holds the scope. What the API would show is printed by `telemetry-sink diagnose`,
// and the browser is given that; so these tests need the binaries.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { join } from "node:path";
import { promisify } from "node:util";

import { eventually, inspect, launch, newPerson, signIn, url } from "../support/browser.js";

const BINARIES = process.env.QUINTET_BIN_DIR;
const SCOPE = "node:read";
const LOOKS = ["units", "processes", "sockets", "disks", "mounts", "network", "kernel", "generations"];
const run = promisify(execFile);

async function seen(what) {
  const { stdout } = await run(join(BINARIES, "telemetry-sink"), ["diagnose", what], { maxBuffer: 16 << 20 });
  return JSON.parse(stdout);
}

/** As if the person held the scope. */
async function grant(page, found) {
  await page.route("**/.auth/session", async (route) => {
    const answer = await route.fetch();
    const session = await answer.json();
    await route.fulfill({ response: answer, json: { ...session, scopes: [...session.scopes, SCOPE] } });
  });
  await page.route("**/telemetry/v1/diagnostics/*", (route) => {
    return route.fulfill({ json: found[new URL(route.request().url()).pathname.split("/").at(-1)] });
  });
}

describe("a look at the machine without the scope", () => {
  it("says which scope is missing and how it is granted, and the server refuses it too", async () => {
    const browser = await launch();
    const person = await newPerson(browser);
    await signIn(person.page, "/machine");
    await person.page.getByRole("heading", { name: `Your session lacks the scope ${SCOPE}` }).waitFor();
    await person.page.getByText(`, "${SCOPE}"]`).waitFor();
    await inspect(person, "machine-denied");
    const refused = await person.page.request.get(`${url}/telemetry/v1/diagnostics/units`);
    assert.equal(refused.status(), 403);
    assert.equal((await refused.json()).detail, `this needs the scope ${SCOPE}`);
    await browser.close();
  });
});

describe("a look at the machine", { skip: BINARIES ? false : "it needs QUINTET_BIN_DIR" }, () => {
  const found = {};
  let browser;
  before(async () => {
    for (const what of LOOKS) found[what] = await seen(what);
    // Not every machine that runs tests lets them read its kernel's messages.
    const message = (number, level, text) => ({ number, level, since_boot_seconds: number, at: 1.79e9 + number, text });
    found.kernel = { messages: [message(1, "info", "Linux version"), message(2, "error", "disk sda failed"), message(3, "warning", "it is hot")] };
    browser = await launch();
  });
  after(() => browser.close());

  for (const colorScheme of ["dark", "light"]) {
    it(`is accessible whatever it shows: ${colorScheme}`, async () => {
      const person = await newPerson(browser, { colorScheme });
      const { page } = person;
      await grant(page, found);
      await signIn(page, "/machine");
      for (const what of LOOKS) {
        await page.goto(`${url}/machine?look=${what}`);
        await page.locator("table tbody tr, .empty").first().waitFor();
        await inspect(person, `machine-${what}-${colorScheme}`);
      }
    });
  }

  it("is searched and ordered, and the address says what was searched", async () => {
    const { page, complaints } = await newPerson(browser);
    await grant(page, found);
    await signIn(page, "/machine?look=processes");
    await page.locator("table tbody tr").first().waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("telemetry-sink");
    await eventually("the address has the search", () => new URL(page.url()).searchParams.get("find") === "telemetry-sink");
    const names = await page.locator("table tbody th").allInnerTexts();
    assert.ok(names.length > 0 && names.every((name) => name.startsWith("telemetry-sink")), names.join());
    await page.goto(`${url}/machine?look=processes`);
    await page.getByRole("button", { name: "Id" }).focus();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await eventually("the first process comes first", async () => {
      const ids = await page.locator("table tbody td:nth-child(2)").allInnerTexts();
      return Number(ids[0]) === Math.min(...ids.map(Number));
    });
    assert.deepEqual(complaints, []);
  });

  it("keeps the kernel's messages to the levels that are chosen", async () => {
    const { page, complaints } = await newPerson(browser);
    await grant(page, found);
    await signIn(page, "/machine?look=kernel");
    await page.getByRole("button", { name: /^error/ }).click();
    await eventually("one message is left", async () => (await page.locator("[data-level]").count()) === 1);
    await page.getByText("disk sda failed").waitFor();
    assert.equal(new URL(page.url()).searchParams.get("level"), "error");
    await page.getByRole("button", { name: "All levels" }).click();
    await eventually("all are back", async () => (await page.locator("[data-level]").count()) === 3);
    assert.deepEqual(complaints, []);
  });
});
