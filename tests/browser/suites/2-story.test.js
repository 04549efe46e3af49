// One order, followed from the click to the receipt, its trace and its log lines.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { eventually, launch, newPerson, picture, signIn, url } from "../support/browser.js";
import { placeOrder } from "../support/shop.js";

const PATH_OF_AN_ORDER = ["edge-gateway", "core-api", "async-worker"];

describe("the story of an order", () => {
  let browser;
  let person;
  let placed;
  before(async () => {
    browser = await launch();
    person = await newPerson(browser);
    await signIn(person.page, "/shop");
    placed = await placeOrder(person.page);
    await picture(person.page, "shop");
  });
  after(() => browser.close());

  it("its request id leads to one trace through gateway, core-api and worker", async () => {
    const { page } = person;
    await page.getByRole("link", { name: "Follow its trace" }).click();
    await page.waitForURL(/\/traces\/[0-9a-f]{32}$/);
    for (const service of PATH_OF_AN_ORDER) {
      await page.locator(`.wf-open[data-service="${service}"]`).first().waitFor();
    }
    await page.locator(`.wf-open[data-service="core-api"]`).first().click();
    await page.getByRole("heading", { name: "Attributes" }).waitFor();
    await picture(page, "trace");
  });

  it("the search box finds the same trace", async () => {
    const { page } = person;
    const trace = new URL(page.url()).pathname;
    await page.goto(`${url}/`);
    await page.keyboard.press("/");
    await page.keyboard.type(placed.request);
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}${trace}`);
  });

  it("the trace leads to the log lines written under it", async () => {
    const { page } = person;
    await page.getByRole("link", { name: "Logs of this trace" }).click();
    await page.waitForURL(/\/logs\?trace=/);
    await page.locator(".log-open").first().waitFor();
    await picture(page, "logs");
  });

  it("its receipt is delivered and can be read", async () => {
    const { page } = person;
    await page.goto(`${url}/mail`);
    const reading = await eventually("the receipt is in the list", async () => {
      for (const link of await page.locator(".mail-list a").all()) {
        await link.click();
        const frame = page.frameLocator(".mail-frame");
        await frame.locator("body *").first().waitFor();
        if ((await frame.locator("body").innerText()).includes(placed.order)) return true;
      }
      return false;
    });
    assert.ok(reading);
    assert.equal(await page.locator(".mail-frame").getAttribute("sandbox"), "allow-same-origin");
    await page.getByRole("button", { name: "Plain text" }).click();
    assert.match(await page.locator(".mail-text").innerText(), new RegExp(placed.order));
    await page.getByRole("button", { name: "Formatted" }).click();
    await picture(page, "mail");
  });

  it("its job is listed as completed and links to the same trace", async () => {
    const { page } = person;
    await page.goto(`${url}/jobs/search?kind=email.send`);
    const row = page.getByRole("row").filter({ hasText: "email.send" }).filter({ hasText: "completed" }).first();
    await row.waitFor();
    await picture(page, "jobs");
    await row.getByRole("link", { name: /job_/ }).click();
    await page.getByRole("heading", { name: "Arguments" }).waitFor();
    await page.getByRole("link", { name: "Open its trace" }).click();
    await page.locator(`.wf-open[data-service="async-worker"]`).first().waitFor();
  });

  it("an item put on sale with a picture gets its thumbnail", async () => {
    const { page } = person;
    await page.goto(`${url}/shop`);
    const sku = `TEST-${Date.now()}`;
    await page.getByLabel("Name", { exact: true }).last().fill(`Vase ${sku}`);
    await page.getByLabel("SKU").fill(sku);
    await page
      .getByLabel(/^Picture/)
      .setInputFiles({ name: "vase.png", mimeType: "image/png", buffer: await vase(page) });
    await page.getByRole("button", { name: "Add item" }).click();
    const card = page.locator(".item").filter({ hasText: sku });
    const thumbnail = card.locator("img");
    await thumbnail.waitFor();
    await eventually("the browser has decoded it", () => thumbnail.evaluate((image) => image.naturalWidth > 0));
  });

  it("an order for more than there is says why it was refused", async () => {
    const { page } = person;
    await page.goto(`${url}/shop`);
    await page
      .getByRole("button", { name: /^Choose / })
      .and(page.locator(":enabled"))
      .first()
      .click();
    const pieces = page.getByLabel("Pieces", { exact: true });
    await pieces.evaluate((input) => input.removeAttribute("max"));
    await pieces.fill("1000000");
    const limited = page.locator(".item.chosen");
    await limited.waitFor();
    person.complaints.length = 0;
    await page.getByRole("button", { name: /^Place order/ }).click();
    const alert = page.getByRole("alert");
    await alert.waitFor();
    assert.match(await alert.innerText(), /available|stock|left|pieces/i);
    // Chromium logs the refused request itself; nothing else may be wrong.
    assert.ok(
      person.complaints.every((complaint) => complaint.includes("409")),
      person.complaints.join("\n"),
    );
    person.complaints.length = 0;
  });

  it("no page complained on the way", () => assert.deepEqual(person.complaints, []));
});

/** A picture drawn in the page, so that no binary file stands among the sources. */
async function vase(page) {
  const base64 = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.width = 640;
    canvas.height = 480;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#e9e4da";
    pen.fillRect(0, 0, 640, 480);
    pen.fillStyle = "#2f6f8f";
    pen.beginPath();
    pen.ellipse(320, 290, 110, 140, 0, 0, Math.PI * 2);
    pen.fill();
    pen.fillRect(275, 90, 90, 100);
    return canvas.toDataURL("image/png").split(",")[1];
  });
  return Buffer.from(base64, "base64");
}
