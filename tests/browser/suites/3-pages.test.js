// Every page: accessible, quiet, within its size, in both colour schemes and on a phone.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { accessibilityViolations, launch, newPerson, picture, signIn, url } from "../support/browser.js";
import { placeOrder } from "../support/shop.js";

const QUERY = encodeURIComponent("process_resident_memory_bytes");
/** Path, heading, and what shows that its data is in. */
const PAGES = [
  ["fleet", "/", "Fleet", "[data-service]"],
  ["traces", "/traces", "Traces", "table tbody tr"],
  ["logs", "/logs", "Logs", ".log-open"],
  ["metrics", `/explore?q=${QUERY}`, "Metrics", ".legend-table tbody tr"],
  ["dashboards", "/dashboards", "Dashboards", ".board-cards a"],
  ["dashboard", "/dashboards/fleet?range=15m", "Fleet", ".board dd"],
  ["map", "/map", "Service map", ".map-node"],
  ["alerts", "/alerts", "Alerts", ".stats"],
  ["storage", "/storage", "Storage", ".ranking tbody tr"],
  ["machine-denied", "/machine", "Machine", ".missing-scope"],
  ["jobs", "/jobs", "Jobs", "table tbody tr"],
  ["job-search", "/jobs/search", "Find jobs", "table tbody tr"],
  ["schedules", "/jobs/schedules", "Schedules", "[data-schedule]"],
  ["mail", "/mail", "Mail", ".mail-list a"],
  ["shop", "/shop", "Shop", ".item"],
  ["unknown", "/no/such/screen", "Not found", ".empty"],
];
const LOOKS = [
  ["dark", { colorScheme: "dark" }],
  ["light", { colorScheme: "light" }],
  ["phone", { colorScheme: "dark", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
];
const LARGEST_TRANSFER = 250 * 1024;

describe("every page", () => {
  let browser;
  before(async () => {
    browser = await launch();
    const { context, page } = await newPerson(browser);
    await signIn(page, "/shop");
    await placeOrder(page);
    await page.goto(`${url}/mail`);
    await page.locator(".mail-list a").first().waitFor();
    await context.close();
  });
  after(() => browser.close());

  for (const [look, options] of LOOKS) {
    it(`is accessible, quiet and fits its window: ${look}`, async () => {
      const { context, page, complaints } = await newPerson(browser, options);
      await signIn(page);
      const problems = [];
      for (const [name, path, heading, ready] of PAGES) {
        await page.goto(url + path);
        await page.getByRole("heading", { name: heading, exact: true, level: 1 }).waitFor();
        await page.locator(ready).first().waitFor();
        problems.push(...(await accessibilityViolations(page)).map((found) => `${name}: ${found}`));
        const [needs, has] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        if (needs > has) problems.push(`${name}: ${needs} px wide in a window of ${has} px`);
        await picture(page, `${name}-${look}`);
      }
      assert.deepEqual(problems, []);
      assert.deepEqual(complaints, []);
      await context.close();
    });
  }

  it("is reached by the keyboard alone", async () => {
    const { context, page } = await newPerson(browser);
    await signIn(page);
    await page.getByRole("heading", { name: "Fleet", exact: true }).waitFor();
    for (const [key, heading] of [
      ["b", "Dashboards"],
      ["t", "Traces"],
      ["l", "Logs"],
      ["m", "Metrics"],
      ["p", "Service map"],
      ["a", "Alerts"],
      ["d", "Storage"],
      ["n", "Machine"],
      ["j", "Jobs"],
      ["i", "Mail"],
      ["s", "Shop"],
      ["f", "Fleet"],
    ]) {
      await page.keyboard.press("g");
      await page.keyboard.press(key);
      await page.getByRole("heading", { name: heading, exact: true, level: 1 }).waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1", `${heading} has the focus`);
    }
    await context.close();
  });

  it("hears a key that is pressed before its first paint", async () => {
    const { context, page } = await newPerson(browser);
    await signIn(page);
    await page.addInitScript(() => {
      document.addEventListener("DOMContentLoaded", () => {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }));
      });
    });
    for (let loads = 0; loads < 5; loads += 1) {
      await page.reload();
      assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("type")), "search");
    }
    await context.close();
  });

  it("is delivered in at most 250 KiB, with a policy that lets nothing foreign in", async () => {
    const { context, page } = await newPerson(browser);
    await signIn(page, "/no/such/screen");
    const session = await context.newCDPSession(page);
    await session.send("Network.enable");
    await session.send("Network.setCacheDisabled", { cacheDisabled: true });
    let transferred = 0;
    session.on("Network.loadingFinished", ({ encodedDataLength }) => (transferred += encodedDataLength));
    const answer = await page.reload({ waitUntil: "networkidle" });
    assert.ok(transferred > 10_000 && transferred <= LARGEST_TRANSFER, `${transferred} bytes`);
    const policy = answer.headers()["content-security-policy"] ?? "";
    assert.match(policy, /default-src 'self'/);
    assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval|\*/);
    await context.close();
  });

  it("the metrics box completes names and draws what was asked", async () => {
    const { context, page, complaints } = await newPerson(browser);
    await signIn(page, "/explore");
    const box = page.getByRole("combobox", { name: "PromQL expression" });
    await box.pressSequentially("process_resident");
    await page.getByRole("option", { name: "process_resident_memory_bytes" }).waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await box.inputValue(), "process_resident_memory_bytes");
    await page.keyboard.press("Enter");
    await page.locator(".legend-table tbody tr").first().waitFor();
    assert.equal(new URL(page.url()).searchParams.get("q"), "process_resident_memory_bytes");
    assert.deepEqual(complaints, []);
    await box.fill("rate(");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Run" }).click();
    await page.getByRole("alert").waitFor();
    await context.close();
  });
});
