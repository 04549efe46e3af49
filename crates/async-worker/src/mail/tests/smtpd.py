"""An SMTP server that is not ours (aiosmtpd), which prints what it takes as a line of JSON.

The local part of a recipient says how it answers. Arguments: plain, starttls or implicit, then the files of a
certificate and its key. The first line printed is the port.
"""

import asyncio
import base64
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

REFUSALS = {
    "gone": "550 5.1.1 no such user",
    "old": "550 no such user here",
    "closed": "550 5.2.1 mailbox closed",
    "full": "552 5.2.2 mailbox full",
    "policy": "550 5.7.1 blocked by policy",
    "busy": "450 4.2.0 greylisted",
}


def say(**what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        refusal = REFUSALS.get(address.split("@")[0])
        if refusal:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.7.1 sender not allowed"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith("spam@"):
            return "554 5.7.0 looks like spam"
        say(
            to=envelope.rcpt_tos,
            message=base64.b64encode(envelope.content).decode(),
            tls=server.transport.get_extra_info("ssl_object") is not None,
            peer=session.peer[1],
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"shop" and data.password == b"sesame"
    return AuthResult(success=good, handled=False)


async def main(mode, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def protocol():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            authenticator=authenticate,
            auth_require_tls=mode == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, "127.0.0.1", 0, ssl=context if mode == "implicit" else None
    )
    say(port=server.sockets[0].getsockname()[1])
    # Ends with the test that started it.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
