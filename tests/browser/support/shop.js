// Buying something in the console's shop.

import assert from "node:assert/strict";

import { url } from "./browser.js";

/** Places an order for one piece and returns its id, its request's id and its customer's address. */
export async function placeOrder(page) {
  await page.goto(`${url}/shop`);
  await page
    .getByRole("button", { name: /^Choose / })
    .and(page.locator(":enabled"))
    .first()
    .click();
  await page.getByRole("button", { name: /^Place order/ }).click();
  const notice = page.locator("[data-order]");
  await notice.waitFor();
  const order = await notice.getAttribute("data-order");
  const request = await notice.getAttribute("data-request");
  assert.match(order, /^ord_/);
  assert.ok(request, "the answer carries a request id");
  const customer = await page.locator("select[name=account] option:checked").innerText();
  return { order, request, email: /\(([^)]+)\)/.exec(customer)?.[1] ?? "" };
}
