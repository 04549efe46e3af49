// Small building blocks every screen uses: panels, states of a load, service names, ids.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ApiError } from "../api/http";
import { requestPath, tracePath } from "../lib/routes";
import { serviceTone } from "../lib/tone";
import { shortId } from "../format";
import { Icon, type IconName } from "./Icon";

export function Page(props: { title: string; lead?: string; tools?: ComponentChildren; children: ComponentChildren }) {
  return (
    <>
      <header class="page-head">
        <div>
          <h1 tabIndex={-1}>{props.title}</h1>
          {props.lead && <p class="lead">{props.lead}</p>}
        </div>
        {props.tools && <div class="page-tools">{props.tools}</div>}
      </header>
      {props.children}
    </>
  );
}

export function Panel(props: {
  title?: string;
  note?: ComponentChildren;
  flush?: boolean;
  class?: string;
  /** Not a landmark of its own: one of many whose titles may be the same. */
  plain?: boolean;
  children: ComponentChildren;
}) {
  const Frame = props.plain ? "div" : "section";
  return (
    <Frame
      class={`panel ${props.flush ? "flush" : ""} ${props.class ?? ""}`}
      {...(props.plain ? {} : { "aria-label": props.title })}
    >
      {props.title && (
        <header class="panel-head">
          <h2>{props.title}</h2>
          {props.note && <div class="panel-note">{props.note}</div>}
        </header>
      )}
      <div class="panel-body">{props.children}</div>
    </Frame>
  );
}

export function Stat(props: {
  label: string;
  value: string;
  tone?: "good" | "bad" | "warn" | undefined;
  sub?: string;
}) {
  return (
    <div class="stat">
      <dt>{props.label}</dt>
      <dd class={props.tone ?? ""}>
        {props.value}
        {props.sub && <small>{props.sub}</small>}
      </dd>
    </div>
  );
}

export function Empty(props: { icon?: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={props.icon ?? "inbox"} size={28} />
      <p class="empty-title">{props.title}</p>
      {props.children && <div class="empty-text">{props.children}</div>}
    </div>
  );
}

export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  // The end of the session is said once, above everything.
  if (error.status === 401) return null;
  return (
    <div class="failure" role="alert">
      <Icon name="alert" size={20} />
      <div>
        <p class="failure-title">{error.title}</p>
        {error.detail && <p>{error.detail}</p>}
        {error.fields.length > 0 && (
          <ul>
            {error.fields.map((field) => (
              <li key={field.pointer}>
                <code>{field.pointer}</code> {field.detail}
              </li>
            ))}
          </ul>
        )}
        <p class="failure-foot">
          {error.status === 403 && <span>Ask an administrator for a role that carries this scope.</span>}
          {error.requestId && (
            <span>
              Request <RequestLink id={error.requestId} />
            </span>
          )}
          {retry && (
            <button type="button" class="button small" onClick={retry}>
              <Icon name="refresh" size={14} /> Try again
            </button>
          )}
        </p>
      </div>
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div class="loading" role="status">
      <span class="spinner" aria-hidden="true" /> Loading {what}…
    </div>
  );
}

export function ServiceTag({ name }: { name: string }) {
  return (
    <span class={`service tone-${serviceTone(name)}`}>
      <i aria-hidden="true" />
      {name || "unknown"}
    </span>
  );
}

export type Tone = "good" | "warn" | "bad" | "busy" | "idle";

export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

export function TraceLink({ id, label }: { id: string; label?: string }) {
  return (
    <a class="mono" href={tracePath(id)} title={`Trace ${id}`}>
      {label ?? shortId(id)}
    </a>
  );
}

export function RequestLink({ id, full = false }: { id: string; full?: boolean }) {
  return (
    <a class="mono" href={requestPath(id)} title={`Trace of request ${id}`}>
      {full ? id : shortId(id, 13)}
    </a>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button
      type="button"
      class="button icon-only"
      aria-label={`Copy ${label}`}
      title={`Copy ${label}`}
      onClick={() => void copy()}
    >
      {done ? <span aria-live="polite">Copied</span> : <Icon name="copy" size={14} />}
    </button>
  );
}

export function KeyValues({ pairs }: { pairs: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="pairs">
      {pairs.map(([key, value], at) => (
        <div key={`${at}${key}`}>
          <dt>{key}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
