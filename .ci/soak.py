"""Many slow streams at once through `minimal_gateway`, and what they cost in memory.

    python soak.py GATEWAY_BINARY [STREAMS] [SECONDS]

Starts a vendor of its own that gives each stream an event every two seconds, the gateway in front of
it, and opens the streams. Memory is read while all of them run: it must not grow in the second half
by more than a tenth, and after the streams were hung up on the gateway must still answer. Standard
library only.
"""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time

KEY = "soak-0123456789-abcdef"
EVENT = json.dumps(
    {
        "id": "chatcmpl-soak",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "soak",
        "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
    }
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def read_head(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = 0
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return head, length


async def vendor(reader, writer):
    """One connection of a vendor that never ends a stream."""
    try:
        while True:
            head, length = await read_head(reader)
            body = await reader.readexactly(length)
            if head.startswith("GET"):
                text = b'{"object":"list","data":[{"id":"soak","object":"model"}]}'
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (len(text), text)
                )
                continue
            if b'"stream":true' not in body.replace(b" ", b""):
                text = json.dumps(
                    {
                        "id": "chatcmpl-soak",
                        "object": "chat.completion",
                        "created": 1,
                        "model": "soak",
                        "choices": [
                            {
                                "index": 0,
                                "message": {"role": "assistant", "content": "here"},
                                "finish_reason": "stop",
                            }
                        ],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                    }
                ).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (len(text), text)
                )
                continue
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            piece = f"data: {EVENT}\n\n".encode()
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(2)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def stream(port, counts):
    body = json.dumps(
        {"model": "soak", "messages": [{"role": "user", "content": "Go on."}], "stream": True}
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 12)
    try:
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        )
        head, _ = await read_head(reader)
        if " 200 " not in head.partition("\r\n")[0] + " ":
            counts["refused"] += 1
            counts["last"] = head.partition("\r\n")[0]
            return
        counts["open"] += 1
        try:
            while piece := await reader.read(1 << 12):
                counts["bytes"] += len(piece)
            counts["ended"] += 1
        finally:
            counts["open"] -= 1
    finally:
        writer.close()


async def one_call(port):
    body = json.dumps({"model": "soak", "messages": [{"role": "user", "content": "There?"}]})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    head, _ = await read_head(reader)
    writer.close()
    return head.partition("\r\n")[0]


async def until_listening(port, process):
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit("the gateway did not start")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise SystemExit("the gateway does not listen")


async def soak(binary, streams, seconds):
    # Connections that are cut at the end are no news.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 4 * streams + 1000
    if soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(need, hard), hard))
    upstream = await asyncio.start_server(vendor, "127.0.0.1", 0, backlog=4096, limit=1 << 16)
    upstream_port = upstream.sockets[0].getsockname()[1]
    port = free_port()
    settings = {
        **os.environ,
        "ADDR": f"127.0.0.1:{port}",
        "ADMIN_ADDR": f"127.0.0.1:{free_port()}",
        "GATEWAY_KEY": KEY,
        "RATE_PER_MINUTE": "100000",
        "OPENAI_API_KEY": "soak-vendor-0123456789",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
    }
    # A log line for each stream is not what is measured.
    process = subprocess.Popen([binary], env=settings, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        await until_listening(port, process)
        await asyncio.sleep(1)
        idle = resident(process.pid)
        print(f"idle: {idle / 1e6:.1f} MB")

        counts = {"open": 0, "refused": 0, "ended": 0, "bytes": 0, "last": ""}
        tasks = []
        start = time.monotonic()
        for number in range(streams):
            tasks.append(asyncio.create_task(stream(port, counts)))
            if number % 100 == 99:
                await asyncio.sleep(0.05)
        while counts["open"] + counts["refused"] < streams and time.monotonic() - start < 120:
            await asyncio.sleep(0.2)
        print(f"{counts['open']} streams open after {time.monotonic() - start:.1f} s, "
              f"{counts['refused']} refused {counts['last']}")

        samples = []
        used, begun = cpu(process.pid), time.monotonic()
        while time.monotonic() - begun < seconds:
            await asyncio.sleep(seconds / 10)
            samples.append(resident(process.pid))
            print(f"  {time.monotonic() - begun:5.0f} s: {samples[-1] / 1e6:.1f} MB, "
                  f"{counts['open']} open, {counts['bytes'] / 1e6:.1f} MB passed")
        burnt = (cpu(process.pid) - used) / (time.monotonic() - begun)
        each = (max(samples) - idle) / max(1, counts["open"])
        print(f"{each / 1e3:.1f} KB a stream, {burnt * 100:.0f} % of a core")
        middle, last = samples[len(samples) // 2], samples[-1]
        wrong = []
        if counts["open"] < streams:
            wrong.append(f"only {counts['open']} of {streams} streams are open")
        if last > middle * 1.1:
            wrong.append(f"memory grew from {middle / 1e6:.1f} to {last / 1e6:.1f} MB")

        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(2)
        print(f"hung up on: {resident(process.pid) / 1e6:.1f} MB")
        answer = await one_call(port)
        print(f"and a call after that: {answer}")
        if " 200" not in answer:
            wrong.append("it does not answer any more")
        print("FAILED: " + "; ".join(wrong) if wrong else "ok: memory is steady")
        return 1 if wrong else 0
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    binary = sys.argv[1]
    streams = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 60
    sys.exit(asyncio.run(soak(binary, streams, seconds)))
