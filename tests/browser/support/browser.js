// Chromium as a person would use it: signing in, and noticing everything the page complains about.

import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

import { chromium } from "playwright-core";

const CHROMIUM = process.env.QUINTET_CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const PATIENCE_MS = 30_000;

export const url = required("QUINTET_URL");

export function required(name) {
  const value = process.env[name];
  assert.ok(value, `set ${name}`);
  return value;
}

export function launch() {
  return chromium.launch({ executablePath: CHROMIUM, args: [...ARGUMENTS, ...trusted()] });
}

/** Passkeys need a page without certificate errors, which `ignoreHTTPSErrors` forgives but does not prevent. */
function trusted() {
  const authority = process.env.QUINTET_CA;
  if (!authority) return [];
  const key = new X509Certificate(readFileSync(authority)).publicKey.export({ type: "spki", format: "der" });
  const hash = createHash("sha256").update(key).digest("base64");
  return [`--ignore-certificate-errors-spki-list=${hash}`];
}

/** What a sink does without: the page asks, hears 404 and goes on, and the browser notes it. */
const OPTIONAL = /\/telemetry\/prometheus\/api\/v1\/query_exemplars/;

function isAbsence(message) {
  return /status of 404/.test(message.text()) && OPTIONAL.test(message.location().url);
}

/** A fresh profile. `complaints` gathers what the pages log as errors, CSP violations among them. */
export async function newPerson(browser, options = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: { width: 1440, height: 900 },
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (isAbsence(message)) return;
    if (message.type() === "error" || message.type() === "warning") {
      complaints.push(`${message.text()} (${message.location().url})`);
    }
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { context, page, complaints };
}

export async function fillSignIn(page, password) {
  await page.getByLabel("E-mail address").fill(required("QUINTET_ADMIN_EMAIL"));
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

export async function signIn(page, path = "/") {
  await page.goto(url + path);
  await fillSignIn(page, required("QUINTET_ADMIN_PASSWORD"));
  await page.waitForURL(
    (address) => !address.pathname.startsWith("/identity/") && !address.pathname.startsWith("/.auth/"),
  );
}

/** Keeps a picture of the page when QUINTET_SCREENSHOTS names a folder. */
export async function picture(page, name) {
  const folder = process.env.QUINTET_SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds wrong with the page, one line each. */
export async function accessibilityViolations(page) {
  // Evaluated over the debugging protocol, which the page's content security policy does not reach.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.flatMap(({ id, impact, nodes }) =>
    nodes.map(({ html }) => `${impact} ${id}: ${html.slice(0, 200)}`),
  );
}

/** Holds a page to what every page owes: no violation, nothing wider than its window, no complaint. */
export async function inspect(person, name) {
  const { page, complaints } = person;
  await picture(page, name);
  assert.deepEqual(await accessibilityViolations(page), [], name);
  const [needs, has] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(needs <= has, `${name}: ${needs} px wide in a window of ${has} px`);
  assert.deepEqual(complaints, [], name);
}

/** Asks again until the answer is true; for what arrives some time after its cause. */
export async function eventually(what, ask, withinMs = PATIENCE_MS) {
  const until = Date.now() + withinMs;
  let last;
  while (Date.now() < until) {
    last = await ask();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  assert.fail(`not within ${withinMs / 1000} s: ${what}`);
}
