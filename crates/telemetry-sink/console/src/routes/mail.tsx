// Mails the worker delivered into the local mail directory.

import { useState } from "preact/hooks";
import { mail as loadMail, mails, type Mail, type MailHead } from "../api/mail";
import { Empty, Failure, KeyValues, Loading, Page, Panel } from "../components/basics";
import { MailFrame } from "../components/MailFrame";
import { ago, dateTime } from "../format";
import { useNow, useResource } from "../hooks";
import { mailPath } from "../lib/routes";

export function MailScreen({ id }: { id: string | null }) {
  const { data, error, reload } = useResource(mails, [], { everyMs: 3000 });
  return (
    <Page title="Mail" lead="What the worker delivered into the local mail directory.">
      {error && !data && error.status === 404 && (
        <Empty icon="mail" title="Mails leave this machine">
          The worker is configured with an SMTP transport; only the local mail directory can be read here.
        </Empty>
      )}
      {error && !data && error.status !== 404 && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="mails" />}
      {data?.length === 0 && (
        <Empty icon="mail" title="No mail has been delivered yet">
          Place an order in the <a href="/shop">shop</a>; its receipt arrives here.
        </Empty>
      )}
      {data && data.length > 0 && (
        <div class={`split ${id ? "reading" : ""}`}>
          <MailList mails={data} selected={id} />
          {id ? (
            <Reader id={id} />
          ) : (
            <Panel>
              <Empty icon="mail" title="Choose a mail to read it" />
            </Panel>
          )}
        </div>
      )}
    </Page>
  );
}

function MailList({ mails: list, selected }: { mails: readonly MailHead[]; selected: string | null }) {
  const now = useNow(5000);
  return (
    <ul class="mail-list" aria-label="Delivered mails, newest first">
      {list.map((head) => (
        <li key={head.id}>
          <a href={mailPath(head.id)} aria-current={head.id === selected ? "true" : undefined}>
            <span class="mail-subject">{head.subject || "(no subject)"}</span>
            <time title={dateTime(head.atMs)}>{ago(head.atMs, now)}</time>
            <span class="mail-to">{head.to}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function Reader({ id }: { id: string }) {
  const { data, error, reload } = useResource((signal) => loadMail(id, signal), [id]);
  if (error && !data) return <Failure error={error} retry={reload} />;
  if (!data) return <Loading what="the mail" />;
  return <MailView mail={data} />;
}

function MailView({ mail }: { mail: Mail }) {
  const [view, setView] = useState<"html" | "text">("html");
  const shown = mail.html === "" ? "text" : view;
  return (
    <Panel class="mail-view">
      <a class="button back" href="/mail">
        All mails
      </a>
      <h2>{mail.subject || "(no subject)"}</h2>
      <KeyValues
        pairs={[
          ["From", mail.from],
          ["To", mail.to],
          ["Date", dateTime(mail.atMs)],
          ["Message id", mail.messageId],
        ]}
      />
      {mail.html !== "" && mail.text !== "" && (
        <div class="segments" role="group" aria-label="Form of the mail">
          <button
            type="button"
            class={shown === "html" ? "on" : ""}
            aria-pressed={shown === "html"}
            onClick={() => setView("html")}
          >
            Formatted
          </button>
          <button
            type="button"
            class={shown === "text" ? "on" : ""}
            aria-pressed={shown === "text"}
            onClick={() => setView("text")}
          >
            Plain text
          </button>
        </div>
      )}
      {shown === "html" ? (
        <MailFrame html={mail.html} title={`Mail: ${mail.subject}`} />
      ) : (
        <pre class="block mail-text" tabIndex={0}>
          {mail.text}
        </pre>
      )}
    </Panel>
  );
}
