"""A receiver of webhooks that is not ours: Python's HTTPS server and HMAC.

Prints each request as a line of JSON, with whether one of the secrets it was given (a line each on standard
input, confirmed by a line) verifies it. The path says how it answers. Arguments: certificate and key; the first line is the port.
"""

import base64
import hashlib
import hmac
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRETS = []
LOCK = threading.Lock()


def say(**what):
    with LOCK:
        print(json.dumps(what), flush=True)


def verifies(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [signature.split(",", 1) for signature in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(value, expected) for version, value in versions)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        say(
            path=self.path,
            id=self.headers["webhook-id"],
            timestamp=self.headers["webhook-timestamp"],
            type=self.headers["content-type"],
            body=body.decode(),
            verified=[verifies(secret, self.headers, body) for secret in SECRETS],
        )
        path = self.path.split("?")[0]
        if path == "/slow":
            # Until the other side hangs up.
            self.connection.recv(1)
            return
        if path == "/endless":
            self.answer(200, length=1 << 40)
            try:
                while True:
                    self.wfile.write(b"y" * 1000)
            except OSError:
                return
        elif path == "/gone":
            self.answer(410)
        elif path == "/fail":
            self.answer(500, b"x" * 2000)
        elif path == "/busy":
            self.answer(503, retry_after="7200")
        elif path == "/redirect":
            self.answer(302, location="/ok")
        else:
            self.answer(200, b"thanks\0")

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:])
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
say(port=server.server_address[1])
# Ends with the test that started it.
for line in sys.stdin:
    SECRETS.append(line.strip())
    say(known=len(SECRETS))
