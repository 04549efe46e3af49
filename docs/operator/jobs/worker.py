#!/usr/bin/env python3
"""A worker in Python, with nothing but the standard library.

Claims jobs over HTTP, runs the function registered for their kind, and says how each ended. While a job runs, a thread
extends its lease; when the lease is lost or the job is cancelled, `job.stopped` is set and what the function says
is not recorded. What a function returns is the job's result. Delivery is at least once: use `job.id` as idempotency key for whatever a function calls.

    python3 worker.py https://shop.example.com token-file
"""

import json
import sys
import threading
import urllib.error
import urllib.request

HANDLERS = {}


class Snooze(Exception):
    """Not yet: come back after this many seconds. The attempt does not count."""

    def __init__(self, seconds):
        super().__init__(f"snoozed for {seconds} s")
        self.seconds = seconds


class Discard(Exception):
    """It can never succeed."""


class Job:
    def __init__(self, document, stopped, worker, lease):
        self.id = document["id"]
        self.kind = document["kind"]
        self.args = document["args"]
        self.attempt = document["attempt"]
        self.checkpoint = document["checkpoint"]
        self.stopped = stopped
        self.worker = worker
        self.lease = lease

    def save(self, checkpoint=None, done=None, total=None, message=None):
        """Keeps where the next run goes on, should this one not complete, and how far it is."""
        said = {"id": self.id, "checkpoint": checkpoint}
        if done is not None:
            said["progress"] = {"done": done, "total": total, "message": message}
        self.worker.call("extend", {"lease": self.lease, "jobs": [said]})

    def dependencies(self):
        """What the jobs of the workflow gave back that it came after, by their names."""
        found, after = {}, ""
        while page := self.worker.call("dependencies", {"lease": self.lease, "id": self.id, "after": after})["data"]:
            found.update((job["name"], job["result"]) for job in page)
            after = page[-1]["name"]
        return found


def handles(kind):
    def register(function):
        HANDLERS[kind] = function
        return function

    return register


class Worker:
    def __init__(self, base, token, hold_ms=30_000):
        self.base = base
        self.token = token
        self.hold_ms = hold_ms

    def call(self, path, body, timeout=40):
        request = urllib.request.Request(
            self.base + "/jobs/v1/work/" + path,
            data=json.dumps(body).encode(),
            headers={"Authorization": "Bearer " + self.token(), "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)

    def work_once(self, wait_ms=20_000):
        """Claims one job and runs it; whether there was one."""
        wanted = {"kinds": list(HANDLERS), "limit": 1, "wait_ms": wait_ms, "hold_ms": self.hold_ms}
        claimed = self.call("claim", wanted)
        for document in claimed["jobs"]:
            self.run(claimed["lease"], document)
        return bool(claimed["jobs"])

    def run(self, lease, document):
        done, stopped, lost = threading.Event(), threading.Event(), threading.Event()
        keeper = threading.Thread(target=self.keep, args=(lease, document["id"], done, stopped, lost), daemon=True)
        keeper.start()
        try:
            ended = self.outcome(Job(document, stopped, self, lease))
        finally:
            done.set()
            keeper.join()
        if not lost.is_set():
            ended["id"] = document["id"]
            self.call("acknowledge", {"lease": lease, "jobs": [ended]})

    def outcome(self, job):
        try:
            result = HANDLERS[job.kind](job)
        except Snooze as snooze:
            return {"outcome": "snoozed", "retry_after_ms": int(snooze.seconds * 1000)}
        except Discard as error:
            return {"outcome": "discarded", "error": str(error)}
        except Exception as error:  # Whatever it is, it is this job's failure and not the worker's.
            if job.stopped.is_set():
                return {"outcome": "cancelled"}
            return {"outcome": "failed", "error": f"{type(error).__name__}: {error}"}
        return {"outcome": "completed", "result": result}

    def keep(self, lease, job, done, stopped, lost):
        """Extends the lease three times in its life, so that two of them may be late."""
        while not done.wait(self.hold_ms / 3000):
            try:
                if job in self.call("extend", {"lease": lease}, timeout=10)["cancelled"]:
                    stopped.set()
            except urllib.error.HTTPError as error:
                if error.code == 409:
                    lost.set()
                    stopped.set()
                    return
            except OSError:
                pass  # The next one may get through; until then the lease holds.


@handles("python.add")
def add(job):
    numbers = job.args["numbers"]
    job.save(done=len(numbers), total=len(numbers), message="adding")
    print(json.dumps({"job": job.id, "sum": sum(numbers)}), flush=True)
    return {"sum": sum(numbers)}


def main():
    base, token_file = sys.argv[1:3]

    def token():
        # Read each time: whoever renews the token replaces the file.
        with open(token_file, encoding="ascii") as file:
            return file.read().strip()

    worker = Worker(base, token)
    while True:
        worker.work_once()


if __name__ == "__main__":
    main()
