// A forgotten password and an address to confirm: letters over SMTP, in a fleet of its own.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { eventually, inspect, launch, newPerson } from "../support/browser.js";
import { canStart, environmentOf, start } from "../support/fleet.js";
import { linkIn, mailServer } from "../support/mail.js";

const skip = canStart() ? false : "needs QUINTET_XTASK and QUINTET_BIN_DIR to start a fleet of its own";
const NEW_PASSWORD = "a sentence is a good password";

describe("letters of the identity provider", { skip }, () => {
  it("a forgotten password is replaced and an address confirmed, without JavaScript", async () => {
    const { received, address, close } = await mailServer();
    const fleet = await start(["--smtp", address]);
    const browser = await launch();
    try {
      const { QUINTET_ADMIN_EMAIL: email } = await environmentOf(fleet.url, fleet.directory);
      const person = await newPerson(browser);
      const { page } = person;
      await page.goto(`${fleet.url}/identity/login`);
      await inspect(person, "identity-sign-in-with-reset");
      await page.getByRole("link", { name: "Forgotten your password?" }).click();
      await inspect(person, "identity-reset");
      await page.getByLabel("E-mail address").fill(email);
      await page.getByRole("button", { name: "Send the link" }).click();
      await page.getByRole("heading", { name: "Look into your mail" }).waitFor();
      await inspect(person, "identity-reset-sent");
      // The server refuses the first message, as a busy one would.
      const letter = (subject) =>
        eventually(subject, () => received.find(({ body, to }) => to.includes(email) && body.includes(subject)));
      const link = linkIn((await letter("Choose a new password")).body, fleet.url);
      await page.goto(link);
      await inspect(person, "identity-reset-new");

      const plain = await newPerson(browser, { javaScriptEnabled: false });
      await plain.page.goto(link);
      await plain.page.getByLabel("New password", { exact: true }).fill(NEW_PASSWORD);
      await plain.page.getByRole("button", { name: "Change the password" }).click();
      await plain.page.getByRole("link", { name: "Sign in" }).click();
      await plain.page.getByLabel("E-mail address").fill(email);
      await plain.page.getByLabel("Password", { exact: true }).fill(NEW_PASSWORD);
      await plain.page.getByRole("button", { name: "Sign in", exact: true }).click();
      await plain.page.getByText("verified", { exact: true }).waitFor();
      await plain.context.close();
      await letter("Your password was changed");

      await page.goto(link);
      await page.getByText("This link was used before").waitFor();
      assert.equal(received.filter(({ body }) => body.includes("Choose a new password")).length, 1);
      await person.context.close();
    } finally {
      await browser.close();
      await fleet.stop();
      await close();
    }
  });
});
