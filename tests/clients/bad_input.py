"""What a client may send by mistake or in malice, byte by byte: each gets a clear answer of the
right kind, and the gateway goes on.

    BASE_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=… python bad_input.py [PART OF A NAME …]

With GATEWAY_PID, the memory of that process is watched too.
"""

import gzip
import http.client
import json
import os
import socket
import time
import urllib.parse
import zlib

from facts import BASE_URL, GATEWAY_KEY, fact, run

_url = urllib.parse.urlsplit(BASE_URL)
HOST, PORT, PREFIX = _url.hostname, _url.port or 80, _url.path
CHAT = f"{PREFIX}/chat/completions"
MOST = 32 << 20


def ask(method, path, body=None, headers=None, key=GATEWAY_KEY, timeout=30):
    """The status, the headers and the body of an answer, on a connection of its own."""
    connection = http.client.HTTPConnection(HOST, PORT, timeout=timeout)
    all_headers = {"content-type": "application/json"} if body is not None else {}
    if key:
        all_headers["authorization"] = f"Bearer {key}"
    all_headers.update(headers or {})
    all_headers = {name: value for name, value in all_headers.items() if value is not None}
    try:
        try:
            connection.request(method, path, body=body, headers=all_headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The answer came before all of the body was out.
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def model():
    if "CHAT_MODEL" in os.environ:
        return os.environ["CHAT_MODEL"]
    _, _, body = ask("GET", f"{PREFIX}/models")
    return next(each["id"] for each in json.loads(body)["data"] if "embed" not in each["id"])


MODEL = model()


def good(**more):
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **more}


def refused(status, body, param=None, code=None, headers=None, path=CHAT):
    """Posts, and checks the error that must come. A dict goes out as JSON."""
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    got, answer_headers, answer = ask("POST", path, body, headers)
    return checked(status, got, answer_headers, answer, param, code)


def checked(status, got, headers, body, param=None, code=None):
    """The error of an answer, in the shape of OpenAI's."""
    assert got == status, f"expected {status}, got {got}: {body[:300]!r}"
    assert headers["content-type"].startswith("application/json"), headers["content-type"]
    error = json.loads(body)["error"]
    assert error["message"] and error["type"], error
    assert set(error) >= {"message", "type", "param", "code"}, error
    if param is not None:
        assert error["param"] == param, error
    if code is not None:
        assert error["code"] == code, error
    return error


def raw(data, timeout=10, shut=False):
    """Sends bytes, and reads until the other side closes or says nothing for a while."""
    with socket.create_connection((HOST, PORT), timeout=timeout) as stream:
        stream.settimeout(timeout)
        try:
            stream.sendall(data)
            if shut:
                stream.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        out = b""
        try:
            while piece := stream.recv(65536):
                out += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return out


def status_of(answer):
    """The status of a raw answer, or None where the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None


def alive():
    status, _, body = ask("POST", CHAT, json.dumps(good()).encode())
    assert status == 200, (status, body[:300])


# JSON


@fact
def broken_json_is_refused_with_its_position():
    error = refused(400, '{"model": "x", "messages": [}')
    assert "line 1" in error["message"] and "column" in error["message"], error
    error = refused(400, '{\n  "model": "x",\n  "messages": ,\n}')
    assert "line 3" in error["message"], error
    for text in ("", " ", "{", "nul", "[]", '"x"', "42", "{}x", "{'model': 'x'}", "\x00"):
        refused(400, text)


@fact
def what_is_not_utf_8_is_refused():
    text = json.dumps(good()).encode().replace(b"Hello", b"\xff\xfe")
    refused(400, text)


@fact
def what_was_sent_is_not_said_again():
    error = refused(400, '{"model": "x", "messages": [{"role": "canary-role", "content": "x"}]} !')
    assert "canary" not in json.dumps(error), error


@fact
def a_wrong_type_is_refused_with_its_path():
    cases = [
        ("model", good(model=5)),
        ("messages", good(messages="hi")),
        ("messages", good(messages={"role": "user"})),
        ("messages[0]", good(messages=["hi"])),
        ("messages[0].role", good(messages=[{"role": 5, "content": "x"}])),
        ("messages[0].content", good(messages=[{"role": "user", "content": 5}])),
        ("temperature", good(temperature="hot")),
        ("stream", good(stream="yes")),
        ("tools", good(tools={"type": "function"})),
        ("tools[0].function.name", good(tools=[{"type": "function", "function": {"name": 5}}])),
    ]
    for param, body in cases:
        error = refused(400, body)
        # A parent of the path is near enough for a vendor, an answer without one is not.
        assert error["param"] and param.startswith(error["param"].split("[")[0]), (param, error)


@fact(simulator=True)
def the_path_names_the_very_place():
    bad = good(messages=[{"role": "user", "content": "x"}, {"role": "user", "content": 5}])
    refused(400, bad, param="messages[1].content")
    refused(400, good(messages=[{"role": "emperor", "content": "x"}]), param="messages[0].role")
    refused(400, good(messages=[{"content": "x"}]), param="messages[0].role")


@fact
def what_is_missing_is_named():
    refused(400, {"messages": good()["messages"]}, param="model")
    refused(400, {"model": MODEL}, param="messages")
    refused(400, good(messages=[]), param="messages")


@fact
def a_number_without_reason_is_refused():
    refused(400, good(n=10**9), param="n")
    for n in (0, -1, 10**30, 1.5):
        refused(400, good(n=n))
    refused(400, good(max_tokens=-1))
    text = json.dumps(good()).replace('"messages"', '"temperature": 1e999, "messages"')
    refused(400, text)


@fact
def json_of_great_depth_is_refused():
    deep = 10**5
    refused(400, "[" * deep)
    refused(400, '{"a":' * deep)
    head = json.dumps(good())[:-1]
    refused(400, f'{head}, "metadata": {"[" * deep}{"]" * deep}}}')
    alive()


@fact
def a_key_that_stands_twice_is_refused():
    # Two parsers may each believe another one of them.
    head = json.dumps(good())[:-1]
    refused(400, f'{head}, "model": "other"}}')


@fact
def a_lone_surrogate_does_no_harm():
    text = json.dumps(good()).replace("Hello", "\\ud800")
    status, _, body = ask("POST", CHAT, text.encode())
    assert status in (200, 400), (status, body[:300])


# Content type and encoding


@fact
def another_content_type_is_not_read():
    text = json.dumps(good())
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", "json"):
        refused(415, text, headers={"content-type": kind})
    refused(415, text, headers={"content-type": None})


@fact
def a_content_type_may_name_its_charset():
    text = json.dumps(good()).encode()
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        status, _, body = ask("POST", CHAT, text, {"content-type": kind})
        assert status == 200, (kind, status, body[:300])


@fact
def a_gzip_body_is_read():
    text = gzip.compress(json.dumps(good()).encode())
    status, _, body = ask("POST", CHAT, text, {"content-encoding": "gzip"})
    assert status == 200 and json.loads(body)["choices"], (status, body[:300])


@fact
def a_gzip_bomb_is_refused():
    # 256 MiB of blanks in one.
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    blanks = b" " * (1 << 20)
    bomb = b"".join(packer.compress(blanks) for _ in range(256)) + packer.flush()
    start = time.monotonic()
    refused(413, bomb, headers={"content-encoding": "gzip"}, code="request_too_large")
    assert time.monotonic() - start < 5
    alive()


@fact
def broken_gzip_is_refused():
    whole = gzip.compress(json.dumps(good()).encode())
    for text in (b"not gzip at all", whole[:-9], whole[:12], b""):
        refused(400, text, headers={"content-encoding": "gzip"})


@fact
def an_unknown_encoding_is_refused():
    status, headers, body = ask("POST", CHAT, b"x", {"content-encoding": "snappy"})
    checked(415, status, headers, body)
    assert "gzip" in headers["accept-encoding"], headers


# Size


@fact
def a_length_that_is_too_large_is_refused_before_the_body():
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {GATEWAY_KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {100 << 20}\r\n\r\n"
    )
    start = time.monotonic()
    assert status_of(raw(head.encode(), timeout=3)) == 413
    assert time.monotonic() - start < 5, "the body was waited for"


@fact
def a_hundred_megabytes_are_refused():
    refused(413, b" " * (100 << 20), code="request_too_large")
    alive()


@fact
def a_body_without_a_length_is_capped():
    pieces = (b" " * (1 << 20) for _ in range(40))
    connection = http.client.HTTPConnection(HOST, PORT, timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {GATEWAY_KEY}"}
    try:
        connection.request("POST", CHAT, body=pieces, headers=headers, encode_chunked=True)
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = connection.getresponse()
    checked(413, answer.status, answer.headers, answer.read(), code="request_too_large")
    connection.close()


@fact
def headers_that_are_too_large_are_refused():
    head = f"GET {PREFIX}/models HTTP/1.1\r\nhost: x\r\n"
    long = f"{head}x-long: {'x' * (2 << 20)}\r\n\r\n"
    assert status_of(raw(long.encode())) in (431, None)
    many = head + "".join(f"x-{number}: x\r\n" for number in range(20_000)) + "\r\n"
    assert status_of(raw(many.encode())) == 431
    path = f"GET /{'x' * (1 << 20)} HTTP/1.1\r\nhost: x\r\n\r\n"
    assert status_of(raw(path.encode())) in (414, 431, None)
    alive()


# Paths, methods, keys


@fact
def an_unknown_path_is_not_found():
    for path in (f"{PREFIX}/nope", f"{PREFIX}/chat", f"{PREFIX}/realtime", f"{PREFIX}/"):
        status, headers, body = ask("POST", path, b"{}")
        checked(404, status, headers, body)
    assert ask("GET", "/nope")[0] == 404


@fact
def a_path_has_one_form_for_all_who_read_it():
    # Normalised before anyone decides by it, so the same key is asked for and the same model answers.
    body = json.dumps(good()).encode()
    for path in (f"{PREFIX}//chat/completions", f"{PREFIX}/x/../chat/completions"):
        assert ask("POST", path, body)[0] == 200, path
        assert ask("POST", path, body, {"authorization": "Bearer no-such-key-at-all"})[0] == 401, path
    for path in (f"{PREFIX}/chat%00/completions", f"{PREFIX}/%zz"):
        assert ask("POST", path, body)[0] == 400, path


@fact
def another_method_is_not_allowed():
    for method, path, allowed in [
        ("GET", CHAT, "POST"),
        ("DELETE", CHAT, "POST"),
        ("POST", f"{PREFIX}/models", "GET"),
    ]:
        status, headers, body = ask(method, path, b"{}" if method == "POST" else None)
        checked(405, status, headers, body)
        assert allowed in headers["allow"], headers


@fact
def without_a_key_there_is_a_challenge():
    status, headers, body = ask("POST", CHAT, json.dumps(good()).encode(), key=None)
    error = checked(401, status, headers, body, code="missing_api_key")
    assert error["type"] == "authentication_error", error
    assert headers["www-authenticate"].startswith("Bearer"), headers


@fact
def a_wrong_key_is_refused_and_not_said_again():
    for key in ("canary-0123456789abcdef", GATEWAY_KEY + "x", GATEWAY_KEY[:-1], "x" * 5000):
        status, headers, body = ask("GET", f"{PREFIX}/models", key=key)
        checked(401, status, headers, body, code="invalid_api_key")
        assert key.encode() not in body and b"canary" not in body, body
    status, headers, body = ask("GET", f"{PREFIX}/models", key=None, headers={
        "authorization": "Basic dXNlcjpwYXNz"
    })
    assert status in (400, 401), status


@fact
def a_key_in_the_query_does_not_count():
    assert ask("GET", f"{PREFIX}/models?api_key={GATEWAY_KEY}", key=None)[0] == 401


@fact
def health_needs_no_key():
    for path in ("/health/live", "/health/ready"):
        assert ask("GET", path, key=None)[0] == 200, path


@fact
def the_answer_to_head_has_no_body():
    connection = socket.create_connection((HOST, PORT), timeout=5)
    connection.sendall(b"HEAD /v1/nope HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    assert answer.endswith(b"\r\n\r\n") and status_of(answer) in (401, 404), answer


# Framing


@fact
def ambiguous_framing_is_refused():
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    smuggled = b"0\r\n\r\nGET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    for framing in (
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: -1\r\n",
        "content-length: 0x10\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: gzip\r\n",
    ):
        answer = raw(f"{head}{framing}\r\n".encode() + smuggled, timeout=2)
        assert status_of(answer) in (400, 413, 501, None), (framing, answer[:200])
        assert b" 200 " not in answer, (framing, answer[:200])
    both = raw(
        f"{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n".encode() + smuggled,
        timeout=2,
    )
    # RFC 9112 section 6.3: chunked wins and the connection is closed, or it is refused.
    assert b" 200 " not in both, both[:300]


@fact
def what_is_no_http_is_refused():
    for text in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n",
                 b"hello\r\n\r\n", b"\r\n" * 1000, b"GET / HTTP/1.1\r\nbad header\r\n\r\n"):
        answer = raw(text, timeout=2, shut=True)
        assert status_of(answer) in (400, 505, None), answer[:200]
    alive()


@fact
def a_request_that_breaks_off_does_no_harm():
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {GATEWAY_KEY}\r\n"
    for text in (
        f"{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{",
        f"{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{{",
        f"{head}content-ty",
    ):
        answer = raw(text.encode(), timeout=2, shut=True)
        assert status_of(answer) in (400, None), answer[:200]
    alive()


# And after all of it


@fact(needs="GATEWAY_PID")
def memory_does_not_stay_with_bad_input():
    def resident():
        with open(f"/proc/{os.environ['GATEWAY_PID']}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    start = resident()
    for _ in range(20):
        refused(413, b" " * (33 << 20))
        refused(400, b"[" * (16 << 20))
    grown = resident() - start
    assert grown < 64 << 20, f"grown by {grown >> 20} MiB"
    alive()


if __name__ == "__main__":
    run()
