"""Ends the writer of keys at random points, and the database too, and wants every key that was shown.

    python3 .ci/kill.py KEYS sqlite|file|postgres ROUNDS

KEYS is the built example `keys`. Each round starts it anew: it issues keys, revokes or rotates some, tells
of each when the store has said that it is done, and is killed (SIGKILL) after a random time. In every tenth
round over PostgreSQL it is the server that is killed, and started again. In the end every key that was
told of is there, every revocation that was told of holds, and the store is sound. A rotation, which is of
two rows, is there as a whole or not at all: bob has one key more for each of his that was replaced.
"""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from killed_postgres import Postgres

keys, kind, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
seed = int(os.environ.get("SEED", time.time()))
random.seed(seed)
print(f"seed {seed}")
folder = pathlib.Path(tempfile.mkdtemp(prefix="tower-gateway-kill-"))
PEPPER = {"KEY_PEPPER": "a secret of this run, of 32 bytes and more"}

server = Postgres(folder) if kind == "postgres" else None
url = server.url() if server else f"{kind}:{folder / 'keys'}"
environment = os.environ | PEPPER | {"DATABASE_URL": url}


def listed(*which, column=4):
    """The state of each key, or its successor (8)."""
    done = subprocess.run([keys, "list", *which], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the keys cannot be listed: {done.stderr}")
    lines = (line.split() for line in done.stdout.splitlines())
    return {line[0]: line[column] for line in lines}


def check_rotated(rotated):
    """That each rotation is there as a whole or not at all. Bob's keys that can be rotated."""
    successors = listed("--owner", "bob", column=8)
    named = [successor for successor in successors.values() if successor != "-"]
    if len(successors) != BOB + len(named) or len(set(named)) != len(named):
        sys.exit(f"{len(successors)} keys of {BOB} and {len(named)} that were replaced")
    missing = set(named) - successors.keys() | rotated - set(named)
    if missing:
        sys.exit(f"{len(missing)} rotations are lost, or half there")
    return [key for key, successor in successors.items() if successor == "-"]


# How many keys bob has before the first is rotated.
BOB = 200


def write(arguments, kill):
    """What the writer has told of until it was killed. `kill` tells whether it was the server."""
    writer = subprocess.Popen([keys, *arguments], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    time.sleep(random.uniform(0.0, 0.15) if random.random() < 0.8 else random.uniform(0.0, 0.6))
    server_killed = kill(writer)
    out, err = writer.communicate(timeout=60)
    # A writer ends because it was killed, because the server was, or because it is done.
    if "panicked" in err or (writer.returncode not in (0, -signal.SIGKILL) and not server_killed):
        sys.exit(f"a writer ended by itself, with {writer.returncode}: {err}")
    # A line that was cut off was not told.
    return [line for line in out.split("\n")[:-1] if line]


told, revoked, rotated, cut = set(), set(), set(), 0
try:
    subprocess.run([keys, "issue", "--owner", "bob", "--count", str(BOB)], env=environment, check=True,
                   stdout=subprocess.DEVNULL)
    for nth in range(rounds):
        def kill(writer):
            if server and nth % 10 == 9:
                server.kill()
                try:
                    writer.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    sys.exit("the writer waits without end for a server that is gone")
                server.start()
                return True
            writer.send_signal(signal.SIGKILL)
            return False

        good = sorted(told - revoked)
        if nth % 4 == 3 and good:
            some = random.sample(good, min(len(good), 500))
            revoked.update(write(["revoke", *some], kill))
        elif nth % 4 == 1:
            some = check_rotated(rotated)
            new = write(["rotate", *random.sample(some, len(some))], kill)
            rotated.update(key.rsplit("_", 2)[1] for key in new)
        else:
            new = write(["issue", "--owner", "alice", "--count", "1000000"], kill)
            told.update(key.rsplit("_", 2)[1] for key in new)
            cut += bool(new)
        if nth % 20 == 19 or nth == rounds - 1:
            there = listed()
            lost = told - there.keys()
            unrevoked = {key for key in revoked if there[key] != "revoked"}
            if lost or unrevoked:
                sys.exit(f"round {nth + 1}: lost {len(lost)} keys, {len(unrevoked)} revocations")
            check_rotated(rotated)
            print(f"round {nth + 1}: {len(told)} keys told of, {len(there)} there, "
                  f"{len(revoked)} revoked, {len(rotated)} rotated", flush=True)
    if kind == "sqlite":
        import sqlite3

        sound = sqlite3.connect(folder / "keys").execute("PRAGMA integrity_check").fetchone()[0]
        if sound != "ok":
            sys.exit(f"the database is not sound: {sound}")
    if not told or not revoked or not rotated or cut < rounds // 4:
        sys.exit(f"that proves nothing: {len(told)} keys, {len(revoked)} revoked, {len(rotated)} rotated, "
                 f"{cut} rounds wrote")
    print(f"kill: {kind}: {rounds} kills, {len(told)} keys, {len(revoked)} revocations and "
          f"{len(rotated)} rotations, 0 lost")
finally:
    if server:
        server.kill()
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)
