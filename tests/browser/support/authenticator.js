// An authenticator app: TOTP (RFC 6238) for the secret that a page shows.

import { createHmac } from "node:crypto";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** The code `offset` steps from now; the provider takes one step either way, each step once. */
export function codeOf(secret, offset = 0) {
  const bits = [...secret.replaceAll(/\s/g, "")]
    .map((letter) => ALPHABET.indexOf(letter).toString(2).padStart(5, "0"))
    .join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + offset));
  const tag = createHmac("sha1", key).update(step).digest();
  const truncated = tag.readUInt32BE(tag.at(-1) & 0x0f) & 0x7fffffff;
  return String(truncated % 1_000_000).padStart(6, "0");
}
