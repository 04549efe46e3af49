// Mail over SMTP instead of into a directory: a fleet of its own that delivers to a real SMTP server.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { eventually } from "../support/browser.js";
import { canStart, environmentOf, start } from "../support/fleet.js";
import { clientOf } from "../support/https.js";
import { mailServer } from "../support/mail.js";

const skip = canStart() ? false : "needs QUINTET_XTASK and QUINTET_BIN_DIR to start a fleet of its own";

describe("mail over SMTP", { skip }, () => {
  it("an order's receipt reaches the SMTP server, also when the server is busy at first", async () => {
    const { received, address, close } = await mailServer();
    const fleet = await start(["--smtp", address]);
    try {
      const order = await placeOrder(fleet);
      const message = await eventually("the receipt arrives", () =>
        received.find(({ body }) => body.includes(order.id)),
      );
      assert.deepEqual(message.to, [order.email]);
      assert.match(message.body, /^Content-Type: multipart\/alternative/im);
      assert.match(message.body, /^Message-ID: /im);
      assert.equal(received.filter(({ body }) => body.includes(order.id)).length, 1);
    } finally {
      await fleet.stop();
      await close();
    }
  });
});

async function placeOrder(fleet) {
  const { QUINTET_CLIENT_ID: id, QUINTET_CLIENT_SECRET: secret } = await environmentOf(fleet.url, fleet.directory);
  const send = await clientOf(fleet);
  const token = await send("POST", "/identity/token", {
    headers: {
      authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`,
      "content-type": "application/x-www-form-urlencoded",
    },
    body: "grant_type=client_credentials&scope=users:read+inventory:read+orders:write",
  });
  const headers = { authorization: `Bearer ${token.access_token}`, "content-type": "application/json" };
  const { items: people } = await send("GET", "/api/v1/users", { headers });
  const { items } = await send("GET", "/api/v1/items", { headers });
  const order = await send("POST", "/api/v1/orders", {
    headers: { ...headers, "idempotency-key": crypto.randomUUID() },
    body: JSON.stringify({ account_id: people[0].id, currency: "EUR", lines: [{ item_id: items[0].id, quantity: 1 }] }),
  });
  return { id: order.id, email: people[0].email };
}
