// Client-side navigation: plain anchors are intercepted, so that every screen is a shareable URL
// and middle-click, copy link and a reload work as anywhere else.

import { useCallback, useLayoutEffect, useState } from "preact/hooks";
import { href, serverOwns } from "./lib/routes";

const changed = new EventTarget();

export function navigate(to: string, options: { replace?: boolean } = {}): void {
  if (options.replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  changed.dispatchEvent(new Event("change"));
}

export interface Place {
  readonly path: string;
  readonly query: URLSearchParams;
}

function here(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

export function usePlace(): Place {
  const [place, setPlace] = useState(here);
  // A navigation between the first screen and its paint is heard too.
  useLayoutEffect(() => {
    const update = (): void => setPlace(here());
    changed.addEventListener("change", update);
    addEventListener("popstate", update);
    return () => {
      changed.removeEventListener("change", update);
      removeEventListener("popstate", update);
    };
  }, []);
  return place;
}

/** Reads the query of the current URL and returns a setter that replaces some of its keys. */
export function useQuery(): [URLSearchParams, (change: Readonly<Record<string, string>>) => void] {
  const { query } = usePlace();
  const change = useCallback((values: Readonly<Record<string, string>>) => {
    const merged = { ...Object.fromEntries(new URLSearchParams(location.search)), ...values };
    navigate(href(location.pathname, merged), { replace: true });
  }, []);
  return [query, change];
}

export function interceptLinks(root: HTMLElement): () => void {
  const onClick = (event: MouseEvent): void => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = event.target instanceof Element ? event.target.closest("a") : null;
    if (!anchor || anchor.target !== "" || anchor.hasAttribute("download") || anchor.dataset["native"] === "") return;
    const target = new URL(anchor.href, location.href);
    if (target.origin !== location.origin || serverOwns(target.pathname)) return;
    if (target.pathname === location.pathname && target.hash !== "") return;
    event.preventDefault();
    navigate(target.pathname + target.search);
  };
  root.addEventListener("click", onClick);
  return () => root.removeEventListener("click", onClick);
}
