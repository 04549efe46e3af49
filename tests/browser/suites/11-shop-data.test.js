// An hour of a shop's telemetry, as its own services would send it: long traces, errors, many lines.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { accessibilityViolations, eventually, inspect, launch, newPerson, required, signIn, url } from "../support/browser.js";
import { sendAnHour, senderTo } from "../support/shop-data.js";

const DIRECTORY = process.env.QUINTET_DATA_DIR;

describe("a shop of seven services", { skip: DIRECTORY ? false : "it needs QUINTET_DATA_DIR" }, () => {
  let browser, person, page, traces;
  before(async () => {
    traces = await sendAnHour(senderTo(required("QUINTET_DATA_DIR")), { minutes: 20, linesAMinute: 60 });
    browser = await launch();
    person = await newPerson(browser);
    ({ page } = person);
    await signIn(page);
  });
  after(() => browser.close());

  it("has a colour for each service of a trace", async () => {
    await page.goto(`${url}/traces/${traces.good}`);
    await page.locator(".self-times li").nth(6).waitFor();
    const tones = await page.locator(".self-times .service").evaluateAll((tags) => tags.map((tag) => tag.className));
    assert.equal(new Set(tones).size, 7, tones.join());
    await page.reload();
    await page.locator(".self-times li").nth(6).waitFor();
    assert.deepEqual(await page.locator(".self-times .service").evaluateAll((tags) => tags.map((tag) => tag.className)), tones);
  });

  it("shows where a trace failed: the marks on its bars, the exception, its log lines", async () => {
    await page.goto(`${url}/traces/${traces.failed}`);
    await page.locator("li:has(.wf-event.bad) .wf-open").first().click();
    await page.getByText("issuer answered 51: insufficient funds", { exact: true }).waitFor();
    assert.match(await page.locator(".wf-occurred pre").innerText(), /at retry\.rs:42/);
    await inspect(person, "trace-failed");
    await page.getByRole("link", { name: "Logs of this trace" }).click();
    await page.locator(".log-open", { hasText: "the card was declined" }).first().waitFor();
  });

  for (const [look, options] of [
    ["light", { colorScheme: "light" }],
    ["phone", { colorScheme: "dark", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
  ]) {
    it(`is accessible and fits its window: ${look}`, async () => {
      const other = await newPerson(browser, options);
      await signIn(other.page);
      for (const [name, path, ready] of [
        ["trace", `/traces/${traces.slow}`, ".wf-open"],
        ["map", "/map", ".map-node"],
        ["explore", `/explore?q=${encodeURIComponent("sum by (job) (rate(shop_requests_total[1m]))")}`, ".legend-table tbody tr"],
        ["logs", "/logs?service=payments&range=1h", ".log-open"],
      ]) {
        await other.page.goto(url + path);
        await other.page.locator(ready).first().waitFor();
        if (name === "trace") await other.page.locator("li:has(.wf-event) .wf-open").first().click();
        await inspect(other, `shop-${name}-${look}`);
      }
      await other.context.close();
    });
  }

  it("leads from a chart to the trace behind a sample", async () => {
    const asked = "histogram_quantile(0.99, sum by (le) (rate(shop_request_duration_seconds_bucket[1m])))";
    await page.goto(`${url}/explore?q=${encodeURIComponent(asked)}&range=1h`);
    await page.locator(".legend-table tbody tr").first().waitFor();
    const panel = page.getByRole("region", { name: "Traces behind the samples" });
    await panel.getByRole("link").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/traces\/[0-9a-f]{32}/);
    await page.locator(".wf-open").first().waitFor();
  });

  it("tells the keys at a key, and gives the focus back", async () => {
    await page.goto(`${url}/logs`);
    await page.locator(".log-open").first().waitFor();
    await page.keyboard.press("?");
    const dialog = page.getByRole("dialog", { name: "Keys" });
    await dialog.getByText("next line").waitFor();
    assert.deepEqual(await accessibilityViolations(page), []);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await eventually("the page hears keys again", async () => {
      await page.keyboard.press("/");
      return page.evaluate(() => document.activeElement?.getAttribute("name") === "text");
    });
  });

  it("nothing complained on the way", () => assert.deepEqual(person.complaints, []));
});
