// The identity provider as a certified-style client library sees it: discovery, code flow with
// PKCE driven through the browser, refresh, revocation, client credentials.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import * as oidc from "openid-client";

import { fillSignIn, launch, newPerson, required, url } from "../support/browser.js";

const ISSUER = new URL(`${url}/identity`);
const REDIRECT = `${url}/.auth/callback`;

describe("OpenID Connect", () => {
  it("discovery describes the issuer a client asked for", async () => {
    const config = await oidc.discovery(ISSUER, required("QUINTET_CLIENT_ID"), required("QUINTET_CLIENT_SECRET"));
    const server = config.serverMetadata();
    assert.equal(server.issuer, ISSUER.href);
    assert.ok(server.supportsPKCE("S256"));
  });

  it("client credentials give a token the API accepts, within the client's scopes", async () => {
    const config = await oidc.discovery(ISSUER, required("QUINTET_CLIENT_ID"), required("QUINTET_CLIENT_SECRET"));
    const tokens = await oidc.clientCredentialsGrant(config, { scope: "orders:read" });
    assert.equal(tokens.token_type.toLowerCase(), "bearer");
    const bearer = { authorization: `Bearer ${tokens.access_token}` };
    assert.equal((await fetch(`${url}/api/v1/orders`, { headers: bearer })).status, 200);
    assert.equal((await fetch(`${url}/api/v1/users`, { headers: bearer })).status, 403);
    assert.equal((await fetch(`${url}/api/v1/orders`)).status, 401);
    const introspected = await oidc.tokenIntrospection(config, tokens.access_token);
    assert.equal(introspected.active, true);
    await assert.rejects(oidc.clientCredentialsGrant(config, { scope: "identity:admin" }), { error: "invalid_scope" });
  });

  it("a wrong client secret is refused", async () => {
    const config = await oidc.discovery(ISSUER, required("QUINTET_CLIENT_ID"), "wrong");
    // RFC 6749 section 5.2: 401 with a challenge for the scheme the client used.
    await assert.rejects(oidc.clientCredentialsGrant(config, {}), { status: 401 });
  });

  it("the code flow with PKCE signs a person in; refresh and revocation work", async () => {
    const config = await oidc.discovery(
      ISSUER,
      required("QUINTET_BROWSER_CLIENT_ID"),
      required("QUINTET_BROWSER_CLIENT_SECRET"),
    );
    const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
    const expectedState = oidc.randomState();
    const expectedNonce = oidc.randomNonce();
    const authorize = oidc.buildAuthorizationUrl(config, {
      redirect_uri: REDIRECT,
      scope: "openid profile email offline_access orders:read",
      code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: "S256",
      state: expectedState,
      nonce: expectedNonce,
    });
    const callback = await signInFor(authorize);
    const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true };
    const tokens = await oidc.authorizationCodeGrant(config, callback, checks);
    const claims = tokens.claims();
    assert.equal(claims.email, required("QUINTET_ADMIN_EMAIL"));
    const person = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub);
    assert.equal(person.email, claims.email);

    const orders = await fetch(`${url}/api/v1/orders`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
    assert.equal(orders.status, 200);

    const refreshed = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    assert.notEqual(refreshed.access_token, tokens.access_token);
    await oidc.tokenRevocation(config, refreshed.refresh_token);
    await assert.rejects(oidc.refreshTokenGrant(config, refreshed.refresh_token), { error: "invalid_grant" });

    // A code works once (RFC 6749 section 4.1.2).
    await assert.rejects(oidc.authorizationCodeGrant(config, callback, checks), { error: "invalid_grant" });
  });
});

/** Drives the provider's pages and returns the address it sent the browser back to. */
async function signInFor(authorize) {
  const browser = await launch();
  try {
    const { page } = await newPerson(browser);
    // The redirect goes to the gateway, which refuses a sign-in it did not begin; the code stays unused.
    const back = page.waitForRequest((request) => request.url().startsWith(`${REDIRECT}?`));
    await page.goto(authorize.href);
    await fillSignIn(page, required("QUINTET_ADMIN_PASSWORD"));
    return new URL((await back).url());
  } finally {
    await browser.close();
  }
}
