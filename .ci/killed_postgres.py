"""A PostgreSQL for the scripts that kill, in a folder of theirs."""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time


class Postgres:
    def __init__(self, folder):
        self.folder = folder
        found = shutil.which("postgres")
        places = [os.path.dirname(os.path.realpath(found))] if found else []
        places += sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        self.bin = next(place for place in places if os.path.exists(f"{place}/initdb"))
        self.user = {}
        if os.getuid() == 0:
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            entry = names.get("postgres") or names["nobody"]
            os.chmod(self.folder, 0o755)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self.user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data = self.folder / "data"
        subprocess.run(
            [f"{self.bin}/initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-D", self.data],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **self.user)
        self.start()

    def start(self):
        # fsync stays on, and whatever else makes it last.
        command = [f"{self.bin}/postgres", "-D", self.data, "-p", str(self.port), "-c",
                   "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        ready = [f"{self.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        until = time.monotonic() + 60
        while True:
            with open(self.folder / "log", "ab") as log:
                self.server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self.user)
            while time.monotonic() < until and self.server.poll() is None:
                if subprocess.run(ready).returncode == 0:
                    return
                time.sleep(0.02)
            # What is left of the one before may still hold the data.
            if time.monotonic() > until:
                sys.exit((self.folder / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.1)

    def kill(self):
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"
