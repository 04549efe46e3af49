// The frame around every screen: navigation, search, the signed-in person, the end of a session.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { forgetAbsences } from "../api/http";
import { session as loadSession } from "../api/session";
import { useResource, useConnection } from "../hooks";
import { jobPath, requestPath, tracePath } from "../lib/routes";
import { classify } from "../lib/search";
import { navigate } from "../router";
import { Icon } from "./Icon";
import { Keys } from "./Keys";
import { ENTRIES } from "./screens";

export function Shell({ path, children }: { path: string; children: ComponentChildren }) {
  const connection = useConnection();
  const main = useRef<HTMLElement>(null);
  const search = useRef<HTMLInputElement>(null);
  useEffect(forgetAbsences, [path]);
  const [helping, setHelping] = useState(false);
  useShortcuts(search, () => setHelping(true));
  useFocusOnNavigation(main, path);
  return (
    <div class="shell">
      <a class="skip" href="#main" data-native="">
        Skip to content
      </a>
      <nav class="rail" aria-label="Screens">
        <a class="brand" href="/" aria-label="Quintet, fleet overview">
          <img src="/favicon.svg" alt="" width="24" height="24" />
          <span>Quintet</span>
        </a>
        <ul>
          {ENTRIES.map((entry) => (
            <li key={entry.path}>
              <a
                href={entry.path}
                aria-current={isCurrent(entry.path, path) ? "page" : undefined}
                title={`${entry.label} (g ${entry.key})`}
              >
                <Icon name={entry.icon} size={18} />
                <span>{entry.label}</span>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <header class="top">
        <SearchBox input={search} />
        <button type="button" class="button icon-only help" aria-label="Keys" title="Keys (?)" onClick={() => setHelping(true)}>
          ?
        </button>
        <Person />
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {connection.expired && <Expired />}
        {!connection.expired && connection.away.length > 0 && <Away services={connection.away} />}
        {children}
      </main>
      {helping && <Keys close={() => setHelping(false)} />}
    </div>
  );
}

function isCurrent(entry: string, path: string): boolean {
  return entry === "/" ? path === "/" : path === entry || path.startsWith(`${entry}/`);
}

function Expired() {
  return (
    <div class="expired" role="alert">
      <Icon name="alert" size={20} />
      <div>
        <p class="failure-title">Your session has ended</p>
        <p>What you see was loaded before. Sign in again to go on from here.</p>
      </div>
      <a class="button primary" data-native="" href={location.pathname + location.search}>
        Sign in again
      </a>
    </div>
  );
}

function Away({ services }: { services: readonly string[] }) {
  return (
    <div class="expired" role="status">
      <Icon name="alert" size={20} />
      <div>
        <p class="failure-title">{services.join(" and ")} does not answer</p>
        <p>What you see may be old. This page keeps asking and goes on by itself.</p>
      </div>
    </div>
  );
}

function SearchBox({ input }: { input: { current: HTMLInputElement | null } }) {
  const [text, setText] = useState("");
  const go = (event: Event): void => {
    event.preventDefault();
    const needle = classify(text);
    if (needle.kind === "none") return;
    setText("");
    input.current?.blur();
    if (needle.kind === "trace") navigate(tracePath(needle.id));
    else if (needle.kind === "job") navigate(jobPath(needle.id));
    else navigate(requestPath(needle.id));
  };
  return (
    <form class="search" role="search" onSubmit={go}>
      <Icon name="search" />
      <input
        ref={input}
        type="search"
        value={text}
        aria-label="Find a trace by request id, trace id or job id"
        placeholder="Request, trace or job id"
        autoComplete="off"
        spellcheck={false}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <kbd aria-hidden="true">/</kbd>
    </form>
  );
}

function Person() {
  const { data } = useResource(loadSession, []);
  const name = data?.name || data?.email || "";
  return (
    <div class="person">
      {data && (
        <span class="person-name" title={`Granted: ${data.scopes.join(", ")}`}>
          <b>{name}</b>
          {data.email && data.email !== name && <small>{data.email}</small>}
        </span>
      )}
      <form method="post" action="/.auth/logout">
        <button type="submit" class="button">
          <Icon name="out" size={14} /> Sign out
        </button>
      </form>
    </div>
  );
}

/**
 * `/` goes to the search box; `g` and a letter go to a screen; `?` lists the keys. Never while typing.
 * In the same turn as the first screen: an effect runs after the paint, and what is typed before is lost.
 */
function useShortcuts(search: { current: HTMLInputElement | null }, help: () => void): void {
  useLayoutEffect(() => {
    // When g was pressed. No key ever was at the start, though 0 is not long ago on a page that was just loaded.
    let leader = -Infinity;
    const onKey = (event: KeyboardEvent): void => {
      const typing =
        event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
      if (event.key === "Escape" && document.activeElement === search.current) search.current?.blur();
      if (typing || event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === "/") {
        event.preventDefault();
        // A screen with a search of its own is searched first.
        (document.querySelector<HTMLInputElement>("main [data-slash]") ?? search.current)?.focus();
        return;
      }
      if (event.key === "?") {
        event.preventDefault();
        help();
        return;
      }
      const entry = event.timeStamp - leader < 1500 ? ENTRIES.find(({ key }) => key === event.key) : undefined;
      leader = event.key === "g" ? event.timeStamp : -Infinity;
      if (entry) navigate(entry.path);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

/**
 * After a navigation the new heading takes the focus, so that a screen reader hears where it is.
 * In the same turn as the new screen: a key pressed between the two would go to nobody.
 */
function useFocusOnNavigation(main: { current: HTMLElement | null }, path: string): void {
  const first = useRef(true);
  useLayoutEffect(() => {
    const heading = main.current?.querySelector("h1");
    const name = heading?.textContent ?? "";
    document.title = path === "/" || name === "" ? "Quintet" : `${name} · Quintet`;
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    heading?.focus({ preventScroll: true });
  }, [path]);
}
