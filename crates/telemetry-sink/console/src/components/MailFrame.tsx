// A mail's HTML in a frame that can run nothing, submit nothing and load nothing.
//
// The sandbox allows no script, form, popup or navigation of the page. `allow-same-origin` lets
// this module, and nothing inside, fill the frame: the page's content security policy also forbids
// inline styles in a srcdoc document, so the stripped body is copied in and its styles are set
// through the CSSOM, which keeps the mail's look.

import { useEffect, useRef } from "preact/hooks";

const DROPPED =
  "script, link, meta, base, iframe, frame, object, embed, form, input, button, select, textarea, video, audio, svg, math, template";
const FETCHING = ["src", "srcset", "background", "poster", "ping", "target"];
const LOOK = "margin:0;padding:16px;background:#fff;color:#1a1d24;font:14px/1.5 system-ui,sans-serif;";
const EMPTY = "<!doctype html><html lang='en'><head><title>Mail</title></head><body></body></html>";

export function MailFrame({ html, title }: { html: string; title: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const fill = (): void => {
    const inside = frame.current?.contentDocument;
    if (!inside?.body || !frame.current) return;
    const { body, sheet } = parse(html);
    inside.body.replaceChildren(...[...body.childNodes].map((node) => inside.importNode(node, true)));
    inside.body.style.cssText = `${LOOK}${body.dataset["style"] ?? ""}`;
    for (const element of inside.body.querySelectorAll<HTMLElement>("[data-style]")) {
      const css = element.dataset["style"] ?? "";
      if (!fetches(css)) element.style.cssText = css;
    }
    const Sheet = inside.defaultView?.CSSStyleSheet;
    if (Sheet) {
      const own = new Sheet();
      own.replaceSync(sheet);
      inside.adoptedStyleSheets = [own];
    }
    // The document is never lower than its frame: shrink first, then measure.
    frame.current.style.height = "120px";
    frame.current.style.height = `${Math.min(1200, Math.max(120, inside.documentElement.scrollHeight))}px`;
  };
  useEffect(fill, [html]);
  return (
    <iframe ref={frame} class="mail-frame" title={title} sandbox="allow-same-origin" srcdoc={EMPTY} onLoad={fill} />
  );
}

interface Parsed {
  readonly body: HTMLElement;
  readonly sheet: string;
}

/**
 * The body without anything active, and without what would be fetched from elsewhere.
 *
 * Inline styles and handlers are renamed before the parser sees them, because it reports each one
 * as a violation. This is for quiet, not for safety: the sandbox and the policy hold regardless.
 */
function parse(html: string): Parsed {
  let sheet = "";
  const quiet = html
    .replace(/<style[^>]*>([\s\S]*?)<\/style>/gi, (_whole, css: string) => {
      sheet += css;
      return "";
    })
    .replace(/<[a-z][^>]*>/gi, (tag) =>
      tag.replace(/\sstyle\s*=/gi, " data-style=").replace(/\son[a-z]+\s*=/gi, " data-dropped="),
    );
  const body = new DOMParser().parseFromString(quiet, "text/html").body;
  for (const element of body.querySelectorAll(DROPPED)) element.remove();
  for (const element of body.querySelectorAll("*")) for (const name of FETCHING) element.removeAttribute(name);
  for (const link of body.querySelectorAll("a")) {
    // A link inside the frame would load its goal in the frame: say where it leads instead.
    link.title = link.getAttribute("href") ?? "";
    link.removeAttribute("href");
  }
  return { body, sheet: fetches(sheet) ? "" : sheet };
}

function fetches(css: string): boolean {
  return /url\(|@import|image-set\(/i.test(css);
}
