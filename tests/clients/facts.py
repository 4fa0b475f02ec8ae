"""A runner for facts: functions that say in their name what holds, and fail by an exception.

Prints one line for each and at the end `N passed, M failed`. Leaves with 1 if one failed.
"""

import asyncio
import inspect
import os
import sys
import time
import traceback

_facts = []
_HERE = os.path.dirname(os.path.abspath(__file__))

# Where the gateway is, as a client is told (`http://127.0.0.1:8080/v1`), and the key that it takes.
BASE_URL = os.environ.get("BASE_URL", "http://127.0.0.1:8080/v1").rstrip("/")
GATEWAY_KEY = os.environ.get("GATEWAY_KEY", "")
# A vendor answers, not the simulator: what only the simulator promises is skipped.
VENDOR = os.environ.get("VENDOR", "") not in ("", "0")
# The protocol of that vendor, where it is known.
PROTOCOL = os.environ.get("PROTOCOL", "")


def fact(function=None, *, needs=None, simulator=False, not_over=()):
    """Registers a fact. `needs` names a variable without which it is skipped, `not_over` the protocols
    of vendors that have no word for it.
    """

    def add(function):
        _facts.append((function, needs, simulator, not_over))
        return function

    return add(function) if function else add


def run():
    """Runs the facts of the module that calls, or those whose name contains an argument."""
    wanted = sys.argv[1:]
    passed = failed = skipped = 0
    for function, needs, simulator, not_over in _facts:
        name = function.__name__.replace("_", " ")
        if wanted and not any(part in function.__name__ for part in wanted):
            continue
        if needs and not os.environ.get(needs):
            skipped += 1
            print(f"  skipped  {name} (needs {needs})")
            continue
        if simulator and VENDOR:
            skipped += 1
            print(f"  skipped  {name} (of the simulator)")
            continue
        if PROTOCOL in not_over:
            skipped += 1
            print(f"  skipped  {name} (not over {PROTOCOL})")
            continue
        start = time.monotonic()
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(function())
            else:
                function()
        except Exception as error:
            failed += 1
            print(f"  FAILED   {name}")
            print(f"    {type(error).__name__}: {str(error)[:1000]}")
            # Only the frames of the facts themselves: those of a client library tell nothing.
            for frame in traceback.extract_tb(error.__traceback__):
                if os.path.dirname(frame.filename) == _HERE and frame.name != "run":
                    print(f"    line {frame.lineno}: {frame.line}")
        else:
            passed += 1
            print(f"  ok       {name} ({(time.monotonic() - start) * 1000:.0f} ms)")
        sys.stdout.flush()
    tail = f", {skipped} skipped" if skipped else ""
    print(f"{passed} passed, {failed} failed{tail}")
    sys.exit(1 if failed or not passed else 0)
