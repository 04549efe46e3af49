// A person's own account at the identity provider: second factors, in each colour scheme, without JavaScript where
// nothing but a form is needed.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { codeOf } from "../support/authenticator.js";
import { fillSignIn, inspect, launch, newPerson, required, url } from "../support/browser.js";

const ACCOUNT = `${url}/identity/`;
const SECURITY = `${url}/identity/account/security`;

async function enter(page, address = ACCOUNT) {
  await page.goto(address);
  await fillSignIn(page, required("QUINTET_ADMIN_PASSWORD"));
}

/** Wrong, and none of the codes of the steps around now. */
function wrongCode(secret) {
  const near = [-1, 0, 1].map((offset) => codeOf(secret, offset));
  return ["000000", "111111", "222222", "333333"].find((code) => !near.includes(code));
}

async function alertSays(page, text) {
  await page.getByRole("alert").filter({ hasText: text }).waitFor();
}

describe("a person's account", () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser.close());

  it("an authenticator app is set up, asked for, replaced by a recovery code, and removed", async () => {
    const owner = await newPerson(browser);
    const { page } = owner;
    await enter(page);
    await page.getByRole("heading", { name: "Your account" }).waitFor();
    await inspect(owner, "identity-account");
    await page.getByRole("link", { name: "Signing in" }).click();
    await page.getByRole("link", { name: "Set up an app" }).waitFor();
    await inspect(owner, "identity-security");
    await page.getByRole("link", { name: "Set up an app" }).click();
    const secret = await page.locator(".secret code").innerText();
    await inspect(owner, "identity-app");
    await page.getByLabel("Enter the code that the app shows").fill(wrongCode(secret));
    await page.getByRole("button", { name: "Confirm" }).click();
    await alertSays(page, "not the code");
    assert.equal(await page.locator(".secret code").innerText(), secret, "the secret stays through a wrong code");
    owner.complaints.length = 0; // Chromium reports the status of the refusal.
    await page.getByLabel("Enter the code that the app shows").fill(codeOf(secret, -1));
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.getByRole("heading", { name: "Write these codes down" }).waitFor();
    const codes = await page.locator(".codes code").allInnerTexts();
    assert.equal(codes.length, 10);
    await inspect(owner, "identity-codes");
    await page.getByRole("link", { name: "I have written them down" }).click();
    await page.getByText("10 codes are left").waitFor();
    await inspect(owner, "identity-security-with-app");

    const dark = await newPerson(browser, {
      colorScheme: "dark",
      viewport: { width: 390, height: 844 },
      isMobile: true,
      hasTouch: true,
    });
    await enter(dark.page);
    await dark.page.getByRole("heading", { name: "Second step" }).waitFor();
    await inspect(dark, "identity-second-step");
    await dark.page.getByLabel("Code", { exact: true }).fill(wrongCode(secret));
    await dark.page.getByRole("button", { name: "Continue" }).click();
    await alertSays(dark.page, "not right");
    dark.complaints.length = 0;
    await dark.page.getByLabel("Code", { exact: true }).fill(codeOf(secret));
    await dark.page.getByRole("button", { name: "Continue" }).click();
    await dark.page.getByRole("heading", { name: "Your account" }).waitFor();
    await dark.page.getByRole("link", { name: "Signing in" }).click();
    await dark.page.getByRole("link", { name: "Move to another device" }).click();
    await inspect(dark, "identity-app-phone");
    await dark.context.close();

    const plain = await newPerson(browser, { javaScriptEnabled: false });
    await enter(plain.page);
    await plain.page.getByRole("link", { name: "Use a recovery code" }).click();
    await plain.page.getByLabel("Recovery code").fill(codes[0]);
    await plain.page.getByRole("button", { name: "Continue" }).click();
    await plain.page.getByRole("heading", { name: "Your account" }).waitFor();
    await plain.context.close();

    await page.goto(SECURITY);
    await page.getByText("9 codes are left").waitFor();
    await page.getByRole("button", { name: "Remove the app" }).click();
    await page.getByRole("link", { name: "Set up an app" }).waitFor();
    await owner.context.close();
  });

  it("where one is signed in is shown, and another browser is signed out from here", async () => {
    const owner = await newPerson(browser);
    await enter(owner.page, `${url}/identity/login?to=access`);
    const other = await newPerson(browser, { colorScheme: "dark", viewport: { width: 390, height: 844 } });
    await enter(other.page, `${url}/identity/login?to=access`);
    await other.page.getByRole("heading", { name: "Where you are signed in" }).waitFor();
    await inspect(other, "identity-devices-phone");
    await owner.page.reload();
    await owner.page.getByText("this browser").waitFor();
    await inspect(owner, "identity-devices");
    await owner.page.getByRole("button", { name: "Sign out everywhere else" }).click();
    await owner.page.getByRole("button", { name: "Sign out everywhere else" }).waitFor({ state: "detached" });
    await other.page.reload();
    await other.page.getByLabel("Password").waitFor();
    await other.context.close();
    await owner.context.close();
  });

  it("a passkey is added, named, used as the only step and as the second, suggested, and removed", async () => {
    const owner = await newPerson(browser);
    const { page, context } = owner;
    const authenticator = await virtualAuthenticator(owner);
    await enter(page, `${url}/identity/login?to=security`);
    await page.getByRole("link", { name: "Add a passkey" }).click();
    await page.getByLabel("Name, such as").fill("Laptop");
    await inspect(owner, "identity-passkey");
    await page.getByRole("button", { name: "Add the passkey" }).click();
    await page.getByRole("heading", { name: "Write these codes down" }).waitFor();
    await page.getByRole("link", { name: "I have written them down" }).click();
    await page.getByLabel("Name of the passkey Laptop").fill("Work laptop");
    await page.getByRole("button", { name: "Rename the passkey Laptop" }).click();
    await page.getByLabel("Name of the passkey Work laptop").waitFor();
    await inspect(owner, "identity-security-with-passkey");

    // As the only step, by the button.
    await authenticator.answer(false);
    await context.clearCookies();
    await page.goto(ACCOUNT);
    await page.getByRole("button", { name: "Sign in with a passkey" }).waitFor();
    await inspect(owner, "identity-sign-in-with-passkey");
    await authenticator.answer(true);
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.getByRole("heading", { name: "Your account" }).waitFor();

    // Suggested by the browser, without a click: conditional mediation.
    await context.clearCookies();
    await page.goto(ACCOUNT);
    await page.getByRole("heading", { name: "Your account" }).waitFor();

    // As the second step, after a password.
    await authenticator.answer(false);
    await context.clearCookies();
    await enter(page);
    await page.getByRole("heading", { name: "Second step" }).waitFor();
    await inspect(owner, "identity-second-step-by-passkey");
    await authenticator.answer(true);
    await page.getByRole("button", { name: "Use a passkey" }).click();
    await page.getByRole("heading", { name: "Your account" }).waitFor();

    // A device that has no passkey of this site says so, and the page stays usable.
    const stranger = await newPerson(browser);
    await virtualAuthenticator(stranger);
    await stranger.page.goto(ACCOUNT);
    await stranger.page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await alertSays(stranger.page, "did not answer");
    await inspect(stranger, "identity-no-passkey");
    await stranger.context.close();

    await page.goto(SECURITY);
    await page.getByRole("button", { name: "Remove the passkey Work laptop" }).click();
    await page.getByText("instead of a password").waitFor();
    await context.close();
  });
});

/** An authenticator of the browser's own, which tells a finger from another; `answer` says whether it does so by itself. */
async function virtualAuthenticator({ context, page }) {
  const session = await context.newCDPSession(page);
  await session.send("WebAuthn.enable");
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return {
    answer: (enabled) => session.send("WebAuthn.setAutomaticPresenceSimulation", { authenticatorId, enabled }),
  };
}
