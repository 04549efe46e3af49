// One identity provider with a client of every kind, and a browser as far as its pages need one.
//
// The issuer's name is an https URL, as it must be; requests to it go to the provider's own listener on loopback, as the
// gateway would send them on.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ORIGIN = "https://id.example";
export const ISSUER = `${ORIGIN}/identity`;
export const CALLBACK = "https://app.example/callback";
export const ADMIN = "admin@example.com";
const PASSWORD = "correct horse battery staple";
export const SECRET = "client-secret-of-forty-two-random-characters";
export const REPORTS = "https://reports.example/";

const READY_WITHIN_MS = 20_000;
const ASK_AGAIN_MS = 50;

export async function start() {
  const binary = process.env.QUINTET_IDENTITY_PROVIDER;
  if (!binary) throw new Error("set QUINTET_IDENTITY_PROVIDER to the program under test");
  const directory = await mkdtemp(join(tmpdir(), "quintet-clients-"));
  const [port, admin] = await freePorts(2);
  const key = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const jwk = { ...(await crypto.subtle.exportKey("jwk", key.publicKey)), kid: "client", use: "sig", alg: "ES256" };
  delete jwk.key_ops;
  delete jwk.ext;
  const file = async (name, text) => {
    await writeFile(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  const secret = await file("secret", SECRET);
  const jwks = await file("jwks.json", JSON.stringify({ keys: [jwk] }));
  const config = await file(
    "identity-provider.toml",
    `
[service]
admin = "127.0.0.1:${admin}"
[telemetry]
log_level = "warn"
[listen]
http = "127.0.0.1:${port}"
[database]
url = "sqlite:${join(directory, "identity.db")}"
[issuer]
url = "${ISSUER}"
[keys]
file = "${await file("sealing", randomBytes(32).toString("hex"))}"
[bootstrap]
admin_email = "${ADMIN}"
admin_name = "Ada Admin"
admin_password_file = "${await file("password", PASSWORD)}"
[[clients]]
id = "web"
secret_file = "${secret}"
consent = false
redirect_uris = ["${CALLBACK}"]
post_logout_redirect_uris = ["https://app.example/"]
scopes = ["openid", "profile", "email", "offline_access", "orders:read"]
[[clients]]
id = "spa"
consent = false
redirect_uris = ["${CALLBACK}"]
scopes = ["openid", "offline_access", "orders:read"]
dpop_bound_access_tokens = true
[[clients]]
id = "signer"
token_endpoint_auth_method = "private_key_jwt"
jwks_file = "${jwks}"
consent = false
redirect_uris = ["${CALLBACK}"]
grant_types = ["authorization_code", "refresh_token", "client_credentials"]
scopes = ["openid", "profile", "orders:read"]
resources = ["${REPORTS}"]
[[clients]]
id = "bank"
token_endpoint_auth_method = "private_key_jwt"
jwks_file = "${jwks}"
profile = "fapi2"
consent = false
redirect_uris = ["${CALLBACK}"]
scopes = ["openid", "orders:read"]
[[clients]]
id = "display"
name = "Wall display"
grant_types = ["device_code", "refresh_token"]
scopes = ["openid", "offline_access", "orders:read"]
[[clients]]
id = "middle"
secret_file = "${secret}"
grant_types = ["token_exchange"]
exchange_tokens_of = ["web"]
scopes = ["orders:read"]
resources = ["${REPORTS}"]
`,
  );
  const child = spawn(binary, ["--config", config], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(directory, { recursive: true, force: true });
  };
  const through = `http://127.0.0.1:${port}`;
  const send = (url, options) => {
    const target = new URL(url);
    if (target.origin !== ORIGIN) throw new Error(`${url} is not the provider's`);
    return fetch(`${through}${target.pathname}${target.search}`, { ...options, redirect: "manual" });
  };
  try {
    await ready(`http://127.0.0.1:${admin}/readyz`, ended);
  } catch (error) {
    await stop();
    throw new Error(`${error.message}:\n${output}`);
  }
  return { key, send, stop, browser: () => new Browser(send) };
}

async function ready(url, ended) {
  const until = Date.now() + READY_WITHIN_MS;
  let over = false;
  ended.then(() => (over = true));
  while (Date.now() < until && !over) {
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
  }
  throw new Error("the identity provider did not become ready");
}

/** Keeps cookies and fills forms in; the pages need no more. */
class Browser {
  #cookies = new Map();
  #send;

  constructor(send) {
    this.#send = send;
  }

  async #request(url, options = {}) {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await this.#send(url, { ...options, headers: { ...options.headers, cookie } });
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(";")[0].split(/=(.*)/s);
      if (line.includes("Max-Age=0")) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    return answer;
  }

  get(url) {
    return this.#request(url);
  }

  post(path, fields) {
    const headers = { origin: ORIGIN, "content-type": "application/x-www-form-urlencoded" };
    return this.#request(`${ISSUER}${path}`, { method: "POST", headers, body: new URLSearchParams(fields).toString() });
  }

  /** Follows the provider's redirects to a page, signing in on the way, or to the address that leaves it. */
  async open(url) {
    let answer = await this.get(url);
    for (let step = 0; step < 10; step += 1) {
      if (answer.status !== 303) {
        const html = await answer.text();
        if (!html.includes('name="password"')) return { html };
        // The page has another form, for passkeys.
        const [form] = html.split('action="/identity/login"')[1].split("</form>");
        const login = { ...hidden(form), email: ADMIN, password: PASSWORD };
        answer = await this.post("/login", login);
        continue;
      }
      const next = new URL(answer.headers.get("location"), ORIGIN);
      if (next.origin !== ORIGIN) return { url: next };
      answer = await this.get(next);
    }
    throw new Error("the provider redirects without end");
  }
}

/** The hidden fields of a page. */
export function hidden(html) {
  const plain = (text) =>
    text
      .replaceAll("&#x2f;", "/")
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">")
      .replaceAll("&quot;", '"')
      .replaceAll("&amp;", "&");
  const fields = html.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g);
  return Object.fromEntries([...fields].map(([, name, value]) => [name, plain(value)]));
}

async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
