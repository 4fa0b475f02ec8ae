"""A vendor that does everything wrong, and what clients get through `minimal_gateway` all the same.

    python chaos.py GATEWAY_BINARY [SECONDS] [SEED]

Fifty clients call at once. Each answer must be one of three things: whole, an error in OpenAI's shape,
or a stream of whole events, which ends with an error event if it broke. Never half an event, never what
the vendor said of the key, never nothing. Standard library only; the seed is printed.
"""

import asyncio
import collections
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

KEY = "chaos-0123456789-abcdef"
VENDOR_KEY = "chaos-vendor-canary-0123456789"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def event(text, finish=None):
    delta = {"content": text} if finish is None else {}
    chunk = {
        "id": "chatcmpl-chaos",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "chaos",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


WHOLE = json.dumps(
    {
        "id": "chatcmpl-chaos",
        "object": "chat.completion",
        "created": 1,
        "model": "chaos",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hé 👋"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    ensure_ascii=False,
).encode()
STREAM = [event(f"wörd {number} 👋 ") for number in range(20)] + [event("", "stop")]
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"chaos","choices":[],' \
    b'"usage":{"prompt_tokens":1,"completion_tokens":20,"total_tokens":21}}\n\n'


def head(status=200, kind="application/json", length=None, more=""):
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{framing}\r\n{more}\r\n".encode()


class Cut(Exception):
    """Ends the connection in the middle."""


async def chunks(writer, data, rng, pace=0.0):
    """Chunked, split at any byte."""
    at = 0
    while at < len(data):
        piece = data[at : at + rng.randint(1, 400)]
        at += len(piece)
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
        if pace:
            await asyncio.sleep(pace)


async def misbehave(writer, stream, rng):
    """One answer. Two of three are good, or the gateway would rightly stop calling."""
    sse = head(kind="text/event-stream")
    if rng.random() < 0.66:
        if not stream:
            writer.write(head(length=len(WHOLE)) + WHOLE)
            return "good"
        data = b"".join(STREAM) + USAGE + DONE
        kind = rng.choice(["plain", "crlf", "comments", "bom"])
        if kind == "crlf":
            data = data.replace(b"\n", b"\r\n")
        elif kind == "comments":
            data = b": hello\n\n" + data.replace(b"data: ", b": ping\n\ndata:", 3)
        elif kind == "bom":
            data = b"\xef\xbb\xbf" + data
        writer.write(sse)
        await chunks(writer, data, rng, rng.choice([0, 0.001]))
        writer.write(b"0\r\n\r\n")
        return "good"
    whole = [
        "close", "half head", "html 502", "html 200", "limit", "key", "garbage", "short", "redirect",
        "nothing", "no http", "long head", "error 200",
    ]
    streams = ["cut", "cut event", "no end", "error event", "garbage event", "long line", "not utf-8"]
    kind = rng.choice(whole + streams if stream else whole)
    if kind == "close":
        raise Cut
    if kind == "half head":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
        raise Cut
    if kind == "html 502":
        writer.write(head(502, "text/html", len(HTML)) + HTML)
    elif kind == "html 200":
        writer.write(head(200, "text/html", len(HTML)) + HTML)
    elif kind == "limit":
        text = b'{"error":{"message":"slow down","type":"requests","param":null,"code":"rate"}}'
        writer.write(head(429, length=len(text), more="retry-after: 1\r\n") + text)
    elif kind == "key":
        text = b'{"error":{"message":"Incorrect API key provided: %s","type":"invalid_request_error",' \
            b'"param":null,"code":"invalid_api_key"}}' % VENDOR_KEY.encode()
        writer.write(head(401, length=len(text)) + text)
    elif kind == "garbage":
        writer.write(head(length=9) + b'{"choices')
    elif kind == "short":
        writer.write(head(length=len(WHOLE) + 100) + WHOLE)
        raise Cut
    elif kind == "redirect":
        writer.write(head(302, length=0, more="location: http://127.0.0.1:9/\r\n"))
    elif kind == "nothing":
        writer.write(head(200, length=0))
    elif kind == "no http":
        writer.write(b"\x15\x03\x01\x00\x02\x02\x28")
        raise Cut
    elif kind == "long head":
        writer.write(head(more=f"x-long: {'x' * (1 << 20)}\r\n"))
        raise Cut
    elif kind == "error 200":
        text = b'{"error":{"message":"no","type":"server_error","param":null,"code":null}}'
        writer.write(head(length=len(text)) + text)
    else:
        writer.write(sse)
        some = b"".join(STREAM[: rng.randint(0, 10)])
        if kind == "cut event":
            some += STREAM[0][: rng.randint(1, len(STREAM[0]) - 1)]
        elif kind == "error event":
            some += b'data: {"error":{"message":"no","type":"server_error","code":null}}\n\n'
        elif kind == "garbage event":
            some += b"data: {this is no json\n\n" + DONE
        elif kind == "not utf-8":
            some += b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n' + DONE
        elif kind == "long line":
            some += b"data: " + b"x" * (4 << 20)
        await chunks(writer, some, rng) if kind != "long line" else writer.write(
            b"%x\r\n%s\r\n" % (len(some), some)
        )
        if kind in ("cut", "cut event", "long line"):
            raise Cut
        writer.write(b"0\r\n\r\n")
    return kind


def vendor(rng, kinds):
    async def connection(reader, writer):
        try:
            while True:
                text = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = 0
                for line in text.split("\r\n"):
                    if line.startswith("content-length:"):
                        length = int(line.split(":")[1])
                body = await reader.readexactly(length)
                if text.startswith("get"):
                    text = b'{"object":"list","data":[{"id":"chaos","object":"model"}]}'
                    writer.write(head(length=len(text)) + text)
                else:
                    stream = b'"stream":true' in body.replace(b" ", b"")
                    kinds[await misbehave(writer, stream, rng)] += 1
                await writer.drain()
        except Cut:
            kinds["cut off"] += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return connection


async def answer(reader):
    """The status, the headers and the body of an answer; the last None if it was cut off."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = text.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    body = b""
    try:
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int(await reader.readline() or b"!", 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        return int(lines[0].split()[1]), headers, None, body
    return int(lines[0].split()[1]), headers, body, body


def judged(status, headers, body, so_far, stream):
    """What kind of an answer it is. Raises if it is none that a client may get."""
    assert b"canary" not in so_far, "the vendor's key"
    if body is None:
        # An answer in one piece that broke off must not look whole. A stream has error events.
        assert not stream or status != 200, f"a stream broke off without an error: {so_far[-200:]!r}"
        return "cut off"
    if status != 200:
        error = json.loads(body)["error"]
        assert error["message"] and error["type"], error
        return f"{status} {error.get('code')}"
    if not headers.get("content-type", "").startswith("text/event-stream"):
        document = json.loads(body)
        assert "choices" in document or "error" in document, document
        return "whole"
    assert body.endswith(b"\n\n") or body.endswith(b"\r\n\r\n"), f"half an event: {body[-200:]!r}"
    if b"{this is no json" in body or b"\xff\xfe" in body:
        # Whole events of a vendor of the same protocol pass as they came, whatever is in them.
        return "stream, garbage of the vendor's"
    last = None
    for line in body.decode("utf-8-sig").replace("\r\n", "\n").split("\n"):
        if line.startswith("data:"):
            assert last is None or "error" not in last, "events after an error"
            text = line[5:].strip()
            last = {"done": True} if text == "[DONE]" else json.loads(text)
            assert last is not None
    if last is None:
        return "empty stream"
    return "stream" if "done" in last else "stream, error" if "error" in last else "stream, no end"


async def client(port, rng, until, seen):
    while time.monotonic() < until:
        stream = rng.random() < 0.6
        body = json.dumps(
            {"model": "chaos", "messages": [{"role": "user", "content": "Go."}], "stream": stream}
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        try:
            writer.write(
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
            )
            if rng.random() < 0.1:
                await asyncio.sleep(rng.random() * 0.01)
                seen["we hung up"] += 1
                continue
            got = await asyncio.wait_for(answer(reader), 60)
            try:
                seen[judged(*got, stream)] += 1
            except (AssertionError, ValueError, KeyError) as error:
                seen["WRONG"] += 1
                if seen["WRONG"] <= 5:
                    print(f"WRONG: {got[0]} {got[1].get('content-type')}: {error!r:.400}")
        except (TimeoutError, asyncio.TimeoutError):
            seen["WRONG"] += 1
            print("WRONG: no answer for a minute")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            seen["WRONG"] += 1
            print(f"WRONG: hung up on without an answer: {error!r}")
        finally:
            writer.close()


async def chaos(binary, seconds, seed):
    # Connections that are cut at the end are no news.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    rng = random.Random(seed)
    kinds, seen = collections.Counter(), collections.Counter()
    upstream = await asyncio.start_server(vendor(rng, kinds), "127.0.0.1", 0, backlog=1024)
    port = free_port()
    settings = {
        **os.environ,
        "ADDR": f"127.0.0.1:{port}",
        "ADMIN_ADDR": f"127.0.0.1:{free_port()}",
        "GATEWAY_KEY": KEY,
        "RATE_PER_MINUTE": "1000000",
        "OPENAI_API_KEY": VENDOR_KEY,
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1",
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([binary], env=settings, stdout=log, stderr=log)
        try:
            for _ in range(300):
                try:
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                except OSError:
                    await asyncio.sleep(0.1)
            until = time.monotonic() + seconds
            clients = (client(port, random.Random(seed + n), until, seen) for n in range(50))
            await asyncio.gather(*clients)
            with open(f"/proc/{process.pid}/statm") as file:
                memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            alive = process.poll() is None
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        log.seek(0)
        text = log.read()
    print(f"seed {seed}; the vendor:", dict(kinds.most_common()))
    print("clients got:", dict(seen.most_common()))
    print(f"memory at the end: {memory / 1e6:.1f} MB")
    wrong = []
    if seen["WRONG"]:
        wrong.append(f"{seen['WRONG']} answers that no client may get")
    if not seen["whole"] or not seen["stream"]:
        wrong.append("nothing went well")
    if not alive or b"panicked" in text:
        wrong.append("it panicked")
    if b"canary" in text:
        wrong.append("the vendor's key is in the log")
    if memory > 300e6:
        wrong.append("memory grew")
    print("FAILED: " + "; ".join(wrong) if wrong else "ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    binary = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    sys.exit(asyncio.run(chaos(binary, seconds, seed)))
