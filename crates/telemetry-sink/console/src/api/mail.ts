// Mails the worker delivered, where it delivers into a local directory.

import { get } from "./http";
import { instant, text, type Listed, type Wire } from "./wire";

const BASE = "/jobs/v1/mail";

export interface MailHead {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly subject: string;
  readonly atMs: number | null;
}

export interface Mail extends MailHead {
  readonly messageId: string;
  readonly text: string;
  readonly html: string;
}

function readMailHead(wire: Wire): MailHead {
  return {
    id: text(wire, "id"),
    from: text(wire, "from"),
    to: text(wire, "to"),
    subject: text(wire, "subject"),
    atMs: instant(wire["date"]),
  };
}

export async function mails(signal?: AbortSignal): Promise<readonly MailHead[]> {
  return (await get<Listed>(BASE, {}, signal)).data.map(readMailHead);
}

export async function mail(id: string, signal?: AbortSignal): Promise<Mail> {
  const wire = await get<Wire>(`${BASE}/${encodeURIComponent(id)}`, {}, signal);
  return {
    ...readMailHead(wire),
    messageId: text(wire, "message_id"),
    text: text(wire, "text"),
    html: text(wire, "html"),
  };
}
