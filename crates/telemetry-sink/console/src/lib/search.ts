// What a person pasted into a search box: a trace id, a request id, or something else.

export type Needle =
  | { readonly kind: "trace"; readonly id: string }
  | { readonly kind: "request"; readonly id: string }
  | { readonly kind: "job"; readonly id: string }
  | { readonly kind: "none" };

export function classify(input: string): Needle {
  const text = input.trim();
  if (text === "") return { kind: "none" };
  if (/^[0-9a-f]{32}$/i.test(text) && !/^0+$/.test(text)) return { kind: "trace", id: text.toLowerCase() };
  const traceparent = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/i.exec(text);
  if (traceparent?.[1]) return { kind: "trace", id: traceparent[1].toLowerCase() };
  if (/^job_[0-9a-z]+$/i.test(text)) return { kind: "job", id: text };
  if (/^[\w.:-]{1,128}$/.test(text)) return { kind: "request", id: text };
  return { kind: "none" };
}

/** `status=500 path="/a b"` as pairs; words without an equals sign are said back, since they mean nothing here. */
export function readAttributes(text: string): { attributes: Record<string, string>; unread: readonly string[] } {
  const attributes: Record<string, string> = {};
  const unread: string[] = [];
  for (const [word] of text.matchAll(/[^\s="]+=(?:"(?:[^"\\]|\\.)*"|\S*)|\S+/g)) {
    const at = word.indexOf("=");
    if (at <= 0) {
      unread.push(word);
      continue;
    }
    const value = word.slice(at + 1);
    const quoted = value.length >= 2 && value.startsWith('"') && value.endsWith('"');
    attributes[word.slice(0, at)] = quoted ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value;
  }
  return { attributes, unread };
}
