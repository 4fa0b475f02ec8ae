"""Ends two writers of prompts at random points, and the database too, and wants all that they were told.

    python3 .ci/kill_prompts.py PROMPTS sqlite|file|postgres ROUNDS

PROMPTS is the built example `prompts`. Each round starts two of it on one prompt: they create versions and let a
label point at each, tell of each change when the store has said that it is done, and are killed (SIGKILL)
after a random time. In every tenth round over PostgreSQL it is the server that is killed, and started again. In the
end every version that was told of says what it was to say, no number is missing or there twice, every move
that was told of is recorded, and each move begins where the one before has ended.
"""

import json
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

prompts, kind, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
seed = int(os.environ.get("SEED", time.time()))
random.seed(seed)
print(f"seed {seed}")
folder = pathlib.Path(tempfile.mkdtemp(prefix="tower-gateway-kill-"))
server = Postgres(folder) if kind == "postgres" else None
if kind == "file":
    (folder / "prompts").mkdir()
url = server.url() if server else f"{kind}:{folder / 'prompts'}"
environment = os.environ | {"DATABASE_URL": url}

# How long a writer takes to begin and to tell of a change, about: a busy machine is slower.
pace = 0.05

# What was told of: the texts of versions by their names and numbers, and the versions and reasons of moves.
versions, moves, cut = {}, set(), 0


def run(*words):
    done = subprocess.run([prompts, *words], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"prompts {words}: {done.stderr}")
    return done.stdout


def write(name, kill):
    """What two writers have told of until they were killed. `kill` tells whether it was the server."""
    global cut
    writers = [subprocess.Popen([prompts, "exercise", name, "1000000"], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    time.sleep(pace * random.uniform(0, 3 if random.random() < 0.8 else 12))
    server_killed = kill(writers)
    told = 0
    for writer in writers:
        out, err = writer.communicate(timeout=60)
        # A writer ends because it was killed, or because the server was.
        if "panicked" in err or (writer.returncode != -signal.SIGKILL and not server_killed):
            sys.exit(f"a writer ended by itself, with {writer.returncode}: {err}")
        # A line that was cut off was not told.
        for line in out.split("\n")[:-1]:
            what, version, text = line.split(" ", 2)
            told += 1
            if what == "version":
                versions[name, int(version)] = text
            else:
                moves.add((name, int(version), text))
    cut += told > 0


def check():
    there, chain, found = {}, {}, set()
    for line in run("export").splitlines():
        record = json.loads(line)
        if version := record.get("version"):
            texts = there.setdefault(version["name"], {})
            texts[version["version"]] = version["prompt"]["messages"][0]["content"]
        else:
            move = record["move"]
            if chain.get(move["name"]) != move.get("from"):
                sys.exit(f"a move begins elsewhere than where the one before has ended: {move}")
            chain[move["name"]] = move["to"]
            found.add((move["name"], move["to"], move["message"]))
    for name, texts in there.items():
        if sorted(texts) != list(range(1, len(texts) + 1)) or len(set(texts.values())) != len(texts):
            sys.exit(f"a number of {name} is missing, or a version is there twice")
    wrong = {key for key, text in versions.items() if there.get(key[0], {}).get(key[1]) != text}
    if wrong or moves - found:
        sys.exit(f"lost {len(wrong)} versions, {len(moves - found)} moves")
    for line in run("list").splitlines():
        name, latest, *labels = line.split()
        if int(latest) != len(there[name]):
            sys.exit(f"{name} has {len(there[name])} versions, and the latest is {latest}")
        label = f"production={chain[name]}" if name in chain else None
        if labels != [label] * (label is not None):
            sys.exit(f"{name} has {labels}, and was moved to {chain.get(name)}")
    return sum(map(len, there.values()))


try:
    for nth in range(rounds):
        def kill(writers):
            if server and nth % 10 == 9:
                server.kill()
                for writer in writers:
                    try:
                        writer.wait(timeout=30)
                    except subprocess.TimeoutExpired:
                        sys.exit("a writer waits without end for a server that is gone")
                server.start()
                return True
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
            return False

        # The first may be killed while they make the tables.
        if nth % 10 == 3:
            began = time.monotonic()
            run("exercise", "pace", "1")
            pace = max(pace, time.monotonic() - began)

        # Another prompt now and then, so that none becomes endless.
        write(f"prompt-{nth // 20}", kill)
        if nth % 20 == 19 or nth == rounds - 1:
            print(f"round {nth + 1}: {len(versions)} versions and {len(moves)} moves told of, "
                  f"{check()} versions there", flush=True)
    if kind == "sqlite":
        import sqlite3

        sound = sqlite3.connect(folder / "prompts").execute("PRAGMA integrity_check").fetchone()[0]
        if sound != "ok":
            sys.exit(f"the database is not sound: {sound}")
    if kind == "file" and (wrong := run("check")):
        sys.exit(f"files are broken: {wrong}")
    if not versions or not moves or cut < rounds // 4:
        sys.exit(f"that proves nothing: {len(versions)} versions, {len(moves)} moves, {cut} rounds wrote")
    print(f"kill: prompts: {kind}: {rounds} kills, {len(versions)} versions and {len(moves)} moves, 0 lost")
finally:
    if server:
        server.kill()
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)
