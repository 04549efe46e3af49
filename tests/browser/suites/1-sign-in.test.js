// From the front door to the fleet overview, and out again.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { eventually, fillSignIn, launch, newPerson, picture, required, signIn, url } from "../support/browser.js";

const MEMBERS = ["edge-gateway", "core-api", "async-worker", "identity-provider", "telemetry-sink"];

describe("signing in", () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser.close());

  it("a wrong password is refused on the page and the right one leads to the fleet", async () => {
    const { context, page } = await newPerson(browser);
    await page.goto(`${url}/`);
    assert.match(new URL(page.url()).pathname, /^\/identity\//);
    await picture(page, "sign-in");
    await fillSignIn(page, "not the password");
    await page.getByRole("alert").first().waitFor();
    assert.match(new URL(page.url()).pathname, /^\/identity\//);
    await fillSignIn(page, required("QUINTET_ADMIN_PASSWORD"));
    await page.waitForURL(`${url}/`);
    await page.getByRole("heading", { name: "Fleet", exact: true }).waitFor();
    assert.equal(await page.title(), "Quintet");
    await context.close();
  });

  it("the overview shows five ready services and figures that change by themselves", async () => {
    const { context, page, complaints } = await newPerson(browser);
    await signIn(page);
    for (const member of MEMBERS) {
      await page.locator(`[data-service="${member}"][data-ready="true"]`).waitFor();
    }
    assert.equal(await page.locator("[data-service]").count(), MEMBERS.length);
    await page.getByText("5 of 5").waitFor();
    const figures = () => page.locator(".cards").innerText();
    const first = await figures();
    await eventually("a figure changes without a reload", async () => (await figures()) !== first);
    await eventually("every service shows its memory", async () => {
      const sizes = await page.locator('[data-figure="rss"]').allInnerTexts();
      return sizes.length === MEMBERS.length && sizes.every((size) => /MiB$/.test(size));
    });
    await picture(page, "fleet");
    assert.deepEqual(complaints, []);
    await context.close();
  });

  it("a deep link survives the sign-in", async () => {
    const { context, page } = await newPerson(browser);
    await signIn(page, "/logs?level=error");
    await page.getByRole("heading", { name: "Logs" }).waitFor();
    assert.equal(new URL(page.url()).search, "?level=error");
    await context.close();
  });

  it("signing out ends the session at the gateway and at the identity provider", async () => {
    const { context, page } = await newPerson(browser);
    await signIn(page);
    await page.getByRole("heading", { name: "Fleet", exact: true }).waitFor();
    const session = await context.cookies(url);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(/\/identity\//);
    const api = await context.request.get(`${url}/telemetry/v1/fleet`);
    assert.equal(api.status(), 401);
    // The provider's own session is gone too: a new visit asks for the password again.
    await page.goto(`${url}/`);
    await page.getByLabel("Password", { exact: true }).waitFor();
    assert.ok(session.some(({ name }) => name === "__Host-quintet_session"));
    await context.close();
  });

  it("a session that ends while a page is open is said clearly, with the way back in", async () => {
    const { context, page } = await newPerson(browser);
    await signIn(page, "/jobs");
    await page.getByRole("heading", { name: "Jobs", exact: true }).waitFor();
    await context.clearCookies();
    const notice = page.getByRole("alert").filter({ hasText: "Your session has ended" });
    await notice.waitFor();
    await notice.getByRole("link", { name: "Sign in again" }).click();
    await page.getByLabel("Password", { exact: true }).waitFor();
    await context.close();
  });
});
