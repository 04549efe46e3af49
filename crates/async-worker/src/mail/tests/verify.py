"""Verifies every DKIM signature of the message on standard input (dkimpy); arguments: DNS name, record, and so on."""

import sys

import dkim

RECORDS = {name.encode() + b".": record.encode() for name, record in zip(sys.argv[1::2], sys.argv[2::2])}
message = dkim.DKIM(sys.stdin.buffer.read())
count = sum(1 for name, _ in message.headers if name.lower() == b"dkim-signature")
assert count == len(RECORDS), f"{count} signatures"
for index in range(count):
    assert message.verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS.get(name)), f"signature {index}"
