"""The `load_balancer` example, in front of several of `upstream.py`, of which some come and go.

    ROOT=http://127.0.0.1:8080 UPSTREAM_PORTS="9001 9002" UPSTREAM_PIDS="1 2" python load_balancer.py
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from facts import fact, run

ROOT = os.environ.get("ROOT", "http://127.0.0.1:8080")
PORTS = os.environ["UPSTREAM_PORTS"].split()
PIDS = [int(pid) for pid in os.environ["UPSTREAM_PIDS"].split()]
SCRIPT = pathlib.Path(__file__).with_name("upstream.py")


def ask(path, method="GET", body=None):
    request = urllib.request.Request(ROOT + path, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def upstreams():
    status, text = ask("/upstreams")
    assert status == 200, (status, text[:300])
    return {one["name"].rpartition(":")[2]: one for one in json.loads(text)["upstreams"]}


def until(what, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, upstreams()
        time.sleep(0.1)


class Load:
    """Clients that ask without a pause, in threads."""

    def __init__(self, clients=8):
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.statuses = {}
        self.threads = [threading.Thread(target=self.go, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def go(self):
        turn = 0
        while not self.over.is_set():
            turn += 1
            try:
                # An idempotent one with a body, every other time.
                method, body = ("GET", None) if turn % 2 else ("PUT", b"x" * 1000)
                status, _ = ask("/echo", method, body)
            except OSError as error:
                status = repr(error)
            with self.lock:
                self.statuses[status] = self.statuses.get(status, 0) + 1

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(timeout=30)
        return self.statuses


@fact
def all_upstreams_are_called():
    for _ in range(40):
        status, _ = ask("/echo")
        assert status == 200, status
    calls = {port: one["calls"] for port, one in upstreams().items()}
    assert set(calls) == set(PORTS) and all(calls.values()), calls
    status, text = ask("/health")
    assert status == 200 and json.loads(text)["status"] == "up", text


@fact
def one_dies_and_comes_back_and_every_call_is_answered():
    victim, pid = PORTS[0], PIDS[0]
    load = Load()
    time.sleep(1)
    os.kill(pid, signal.SIGKILL)
    until(lambda: upstreams()[victim]["state"] != "up")
    calls = upstreams()[victim]["calls"]
    time.sleep(1)
    assert upstreams()[victim]["calls"] - calls < 20, "it is still called"
    again = subprocess.Popen([sys.executable, str(SCRIPT), victim])
    try:
        until(lambda: upstreams()[victim]["state"] == "up")
        calls = upstreams()[victim]["calls"]
        until(lambda: upstreams()[victim]["calls"] > calls + 20)
        statuses = load.end()
        print(f"load_balancer: {statuses}")
        assert set(statuses) == {200} and statuses[200] > 200, statuses
    finally:
        load.end()
        again.kill()


if __name__ == "__main__":
    run()
