// Label matchers as people write them: `alertname="DiskFull", job=~"edge-.*"`.

import { quote } from "./logql";

export interface LabelMatcher {
  readonly name: string;
  readonly op: "=" | "!=" | "=~" | "!~";
  readonly value: string;
}

export type Parsed = { readonly matchers: readonly LabelMatcher[] } | { readonly problem: string };

const ONE = /^\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"{}]+))\s*/;

export function parseMatchers(text: string): Parsed {
  let rest = text.trim().replace(/^\{/, "").replace(/\}$/, "");
  const matchers: LabelMatcher[] = [];
  while (rest.trim() !== "") {
    const found = ONE.exec(rest);
    if (!found) return { problem: `write ${rest.trim().slice(0, 40)} as name="value"` };
    const [whole, name = "", op = "=", quoted, plain = ""] = found;
    matchers.push({ name, op: op as LabelMatcher["op"], value: quoted === undefined ? plain : unescape(quoted) });
    rest = rest.slice(whole.length);
    if (rest === "") break;
    if (!rest.startsWith(",")) return { problem: `put a comma before ${rest.slice(0, 40)}` };
    rest = rest.slice(1);
  }
  if (matchers.length === 0) return { problem: "name at least one label" };
  const broken = matchers.find(({ op, value }) => op.endsWith("~") && expression(value) === null);
  return broken ? { problem: `${broken.value} is no regular expression` } : { matchers };
}

function unescape(text: string): string {
  return text.replace(/\\(n|.)/g, (_, char: string) => (char === "n" ? "\n" : char));
}

export function matchersText(matchers: readonly LabelMatcher[]): string {
  return matchers.map(({ name, op, value }) => `${name}${op}${quote(value)}`).join(", ");
}

/** Anchored at both ends, as Prometheus reads it. */
function expression(value: string): RegExp | null {
  try {
    return new RegExp(`^(?:${value})$`, "s");
  } catch {
    return null;
  }
}

export function matchesAll(matchers: readonly LabelMatcher[], labels: Readonly<Record<string, string>>): boolean {
  return matchers.every(({ name, op, value }) => {
    const own = labels[name] ?? "";
    const equal = op.endsWith("~") ? (expression(value)?.test(own) ?? false) : own === value;
    return equal === op.startsWith("=");
  });
}
