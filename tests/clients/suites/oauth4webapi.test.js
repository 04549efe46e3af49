// oauth4webapi, which checks every answer against its specification.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import * as oauth from "oauth4webapi";

import { CALLBACK, ISSUER, start } from "../support/provider.js";

let provider;
before(async () => (provider = await start()));
after(() => provider?.stop());

const options = () => ({ [oauth.customFetch]: provider.send });

async function server() {
  const issuer = new URL(ISSUER);
  const oidc = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options()));
  const rfc8414 = await oauth.discoveryRequest(issuer, { ...options(), algorithm: "oauth2" });
  assert.deepEqual(await oauth.processDiscoveryResponse(issuer, rfc8414), oidc);
  return oidc;
}

describe("oauth4webapi", () => {
  it("accepts every answer of the FAPI 2.0 flow, and the ID token's signature", async () => {
    const as = await server();
    const client = { client_id: "bank" };
    const key = { key: provider.key.privateKey, kid: "client" };
    const authentication = oauth.PrivateKeyJwt(key);
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const nonce = oauth.generateRandomNonce();
    const parameters = new URLSearchParams({
      client_id: "bank",
      redirect_uri: CALLBACK,
      response_type: "code",
      scope: "openid orders:read",
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      state,
      nonce,
    });
    // The nonce for proofs is learnt from the first refusal (RFC 9449 section 8).
    const twice = async (call) => {
      try {
        return await call();
      } catch (error) {
        if (!oauth.isDPoPNonceError(error)) throw error;
        return call();
      }
    };
    const pushed = await twice(async () => {
      const answer = await oauth.pushedAuthorizationRequest(as, client, authentication, parameters, {
        ...options(),
        DPoP,
      });
      return oauth.processPushedAuthorizationResponse(as, client, answer);
    });
    const url = new URL(as.authorization_endpoint);
    url.search = new URLSearchParams({ client_id: "bank", request_uri: pushed.request_uri });
    const { url: back } = await provider.browser().open(url);
    const callback = oauth.validateAuthResponse(as, client, back, state);
    const answer = await twice(async () => {
      const sent = oauth.authorizationCodeGrantRequest(as, client, authentication, callback, CALLBACK, verifier, {
        ...options(),
        DPoP,
      });
      const received = await sent;
      const processed = await oauth.processAuthorizationCodeResponse(as, client, received, {
        expectedNonce: nonce,
        requireIdToken: true,
      });
      await oauth.validateApplicationLevelSignature(as, received, options());
      return processed;
    });
    const request = await bound(DPoP, answer.access_token);
    // RFC 9068 and RFC 9449 as a resource server of theirs checks them.
    const claims = await oauth.validateJwtAccessToken(as, request, "quintet", { ...options(), requireDPoP: true });
    assert.equal(claims.client_id, "bank");
  });

  it("accepts the answers to client credentials, introspection, revocation and a refused request", async () => {
    const as = await server();
    const client = { client_id: "signer" };
    const authentication = oauth.PrivateKeyJwt({ key: provider.key.privateKey, kid: "client" });
    const sent = await oauth.clientCredentialsGrantRequest(as, client, authentication, { scope: "orders:read" }, options());
    const { access_token } = await oauth.processClientCredentialsResponse(as, client, sent);
    const asked = await oauth.introspectionRequest(as, client, authentication, access_token, options());
    assert.equal((await oauth.processIntrospectionResponse(as, client, asked)).active, true);
    const revoked = await oauth.revocationRequest(as, client, authentication, access_token, options());
    await oauth.processRevocationResponse(revoked);
    const again = await oauth.introspectionRequest(as, client, authentication, access_token, options());
    assert.equal((await oauth.processIntrospectionResponse(as, client, again)).active, false);
    const refused = await oauth.clientCredentialsGrantRequest(as, client, authentication, { scope: "identity:admin" }, options());
    await assert.rejects(oauth.processClientCredentialsResponse(as, client, refused), { error: "invalid_scope" });
  });
});

/** A request with a bound token and its proof, which goes nowhere. */
async function bound(DPoP, token) {
  const url = new URL("https://api.example/api/v1/orders");
  let sent;
  const keep = async (address, { method, headers }) => {
    sent = new Request(address, { method, headers });
    return new Response();
  };
  await oauth.protectedResourceRequest(token, "GET", url, undefined, undefined, { DPoP, [oauth.customFetch]: keep });
  return sent;
}
