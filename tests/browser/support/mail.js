// A mail server for fleets that deliver over SMTP.

import { SMTPServer } from "smtp-server";

/** Refuses the first message with a temporary error, as a busy server would, and keeps the others in `received`. */
export async function mailServer() {
  const received = [];
  let refused = false;
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData(stream, session, done) {
      let body = "";
      stream.setEncoding("utf8");
      stream.on("data", (chunk) => (body += chunk));
      stream.on("end", () => {
        if (!refused) {
          refused = true;
          done(Object.assign(new Error("busy, try again"), { responseCode: 451 }));
          return;
        }
        received.push({ to: session.envelope.rcptTo.map(({ address }) => address), body });
        done();
      });
    },
  });
  const port = await new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server.server.address().port));
  });
  const close = () => new Promise((resolve) => server.close(resolve));
  return { received, address: `smtp://127.0.0.1:${port}`, close };
}

/** The first address of `origin` in a message, whatever its transfer encoding folded. */
export function linkIn(body, origin) {
  const text = body.replaceAll("=\r\n", "").replaceAll("=3D", "=");
  const found = text.slice(text.indexOf(origin)).match(/^\S+/);
  return found?.[0];
}
