// openid-client, a certified relying party, through every flow there is.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import * as oidc from "openid-client";

import { ADMIN, CALLBACK, ISSUER, REPORTS, SECRET, hidden, start } from "../support/provider.js";

let provider;
before(async () => (provider = await start()));
after(() => provider?.stop());

const discover = (id, authentication, metadata = {}) =>
  oidc.discovery(new URL(ISSUER), id, metadata, authentication, { [oidc.customFetch]: provider.send });

const byKey = () => oidc.PrivateKeyJwt({ key: provider.key.privateKey, kid: "client" });

async function wanted(scope) {
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  const parameters = {
    redirect_uri: CALLBACK,
    scope,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    nonce,
  };
  return { parameters, checks: { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce } };
}

describe("openid-client", () => {
  it("signs a person in, refreshes, introspects, revokes and signs out", async () => {
    const config = await discover("web", oidc.ClientSecretBasic(SECRET));
    const { parameters, checks } = await wanted("openid profile email offline_access orders:read");
    const browser = provider.browser();
    const { url } = await browser.open(oidc.buildAuthorizationUrl(config, parameters));
    const tokens = await oidc.authorizationCodeGrant(config, url, { ...checks, idTokenExpected: true });
    const claims = tokens.claims();
    assert.equal(claims.email, ADMIN);
    assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, claims.sub)).email, ADMIN);
    assert.equal((await oidc.tokenIntrospection(config, tokens.access_token)).active, true);
    const refreshed = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    assert.equal(refreshed.claims().sub, claims.sub);
    await oidc.tokenRevocation(config, refreshed.refresh_token);
    await assert.rejects(oidc.refreshTokenGrant(config, refreshed.refresh_token), { error: "invalid_grant" });
    assert.equal((await oidc.tokenIntrospection(config, refreshed.access_token)).active, false);
    const leave = oidc.buildEndSessionUrl(config, {
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: "https://app.example/",
      state: "bye",
    });
    assert.equal((await browser.open(leave)).url.href, "https://app.example/?state=bye");
  });

  it("authenticates by a secret in the form, and not by a wrong one", async () => {
    const config = await discover("web", oidc.ClientSecretPost("wrong"));
    await assert.rejects(oidc.refreshTokenGrant(config, "x"), { status: 401 });
    const good = await discover("web", oidc.ClientSecretPost(SECRET));
    await assert.rejects(oidc.refreshTokenGrant(good, "x"), { error: "invalid_grant" });
  });

  it("gets a token for one resource by private_key_jwt", async () => {
    const config = await discover("signer", byKey());
    const tokens = await oidc.clientCredentialsGrant(config, { scope: "orders:read", resource: REPORTS });
    assert.equal(payload(tokens.access_token).aud, REPORTS);
  });

  it("is answered by a form", async () => {
    const config = await discover("web", oidc.ClientSecretBasic(SECRET));
    const { parameters, checks } = await wanted("openid");
    const asked = oidc.buildAuthorizationUrl(config, { ...parameters, response_mode: "form_post" });
    const { html } = await provider.browser().open(asked);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const body = new URLSearchParams(hidden(html));
    const request = new Request(CALLBACK, { method: "POST", headers, body });
    const tokens = await oidc.authorizationCodeGrant(config, request, checks);
    assert.ok(tokens.claims().sub);
  });

  it("signs its request (JAR)", async () => {
    const config = await discover("signer", byKey());
    const { parameters, checks } = await wanted("openid profile");
    const url = await oidc.buildAuthorizationUrlWithJAR(config, parameters, {
      key: provider.key.privateKey,
      kid: "client",
    });
    const { url: callback } = await provider.browser().open(url);
    const tokens = await oidc.authorizationCodeGrant(config, callback, checks);
    assert.equal(tokens.claims().name, "Ada Admin");
  });

  it("keeps a public client's tokens to its key (DPoP)", async () => {
    const config = await discover("spa", oidc.None());
    const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair("ES256"));
    const { parameters, checks } = await wanted("openid offline_access");
    const { url } = await provider.browser().open(oidc.buildAuthorizationUrl(config, parameters));
    const tokens = await oidc.authorizationCodeGrant(config, url, checks, undefined, { DPoP });
    assert.equal(tokens.token_type, "dpop");
    const { sub } = tokens.claims();
    assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).sub, sub);
    await assert.rejects(oidc.fetchUserInfo(config, tokens.access_token, sub));
    const other = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair("ES256"));
    await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: other }), {
      error: "invalid_grant",
    });
    const refreshed = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
    assert.equal(refreshed.token_type, "dpop");
  });

  it("follows the FAPI 2.0 Security Profile: pushes, proves, and is let in", async () => {
    const config = await discover("bank", byKey());
    const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair("ES256"));
    const { parameters, checks } = await wanted("openid orders:read");
    const asked = await oidc.buildAuthorizationUrlWithPAR(config, parameters, { DPoP });
    assert.deepEqual([...asked.searchParams.keys()].sort(), ["client_id", "request_uri"]);
    const { url } = await provider.browser().open(asked);
    const tokens = await oidc.authorizationCodeGrant(config, url, checks, undefined, { DPoP });
    assert.equal(payload(tokens.access_token).cnf.jkt, await DPoP.calculateThumbprint());
    const refreshed = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
    assert.equal(refreshed.refresh_token, undefined);
  });

  it("connects a device", async () => {
    const config = await discover("display", oidc.None());
    const begun = await oidc.initiateDeviceAuthorization(config, { scope: "openid orders:read" });
    const browser = provider.browser();
    const signedIn = await browser.open(`${ISSUER}/device`);
    const { csrf } = hidden(signedIn.html);
    const asked = await browser.post("/device", { csrf, user_code: begun.user_code });
    assert.match(await asked.text(), /Connect Wall display\?/);
    await browser.post("/device", { csrf, user_code: begun.user_code, decision: "allow" });
    const tokens = await oidc.pollDeviceAuthorizationGrant(config, begun);
    assert.equal(tokens.scope, "openid orders:read");
  });

  it("exchanges a token", async () => {
    const web = await discover("web", oidc.ClientSecretBasic(SECRET));
    const { parameters, checks } = await wanted("openid orders:read");
    const { url } = await provider.browser().open(oidc.buildAuthorizationUrl(web, parameters));
    const { access_token } = await oidc.authorizationCodeGrant(web, url, checks);
    const middle = await discover("middle", oidc.ClientSecretBasic(SECRET));
    const exchanged = await oidc.genericGrantRequest(middle, "urn:ietf:params:oauth:grant-type:token-exchange", {
      subject_token: access_token,
      subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
      resource: REPORTS,
    });
    const claims = payload(exchanged.access_token);
    assert.deepEqual([claims.aud, claims.act.sub, claims.sub], [REPORTS, "middle", payload(access_token).sub]);
  });
});

function payload(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
}
