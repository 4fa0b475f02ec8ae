"""The `reverse_proxy` example, in front of `upstream.py`.

    ROOT=http://127.0.0.1:8080 GATEWAY_KEY=… python reverse_proxy.py [PART OF A NAME …]
"""

import hashlib
import http.client
import json
import os
import socket
import time
import urllib.parse

from facts import GATEWAY_KEY, fact, run

_url = urllib.parse.urlsplit(os.environ.get("ROOT", "http://127.0.0.1:8080"))
HOST, PORT = _url.hostname, _url.port or 80


def connect():
    return http.client.HTTPConnection(HOST, PORT, timeout=30)


def ask(method, path, body=None, headers=None):
    connection = connect()
    all_headers = {"authorization": f"Bearer {GATEWAY_KEY}", **(headers or {})}
    try:
        connection.request(method, path, body=body, headers=all_headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def echo(method="GET", path="/echo", body=None, headers=None):
    """What the upstream got, with its headers as a list of values for each name."""
    status, answer_headers, text = ask(method, path, body, headers)
    assert status == 200, (status, text[:300])
    got = json.loads(text)
    lists = {}
    for name, value in got["headers"]:
        lists.setdefault(name, []).append(value)
    return {**got, "headers": lists, "answer": answer_headers}


@fact
def method_path_query_and_body_arrive():
    body = os.urandom(100_000)
    for method in ("POST", "PUT", "PATCH"):
        got = echo(method, "/echo/a%20b?x=1&y=%2F", body)
        assert (got["method"], got["path"]) == (method, "/echo/a%20b?x=1&y=%2F"), got
        assert got["sha256"] == hashlib.sha256(body).hexdigest()
    for method in ("GET", "DELETE", "OPTIONS"):
        assert echo(method)["method"] == method


@fact
def a_body_without_a_length_arrives():
    pieces = [os.urandom(10_000) for _ in range(50)]
    got = echo("POST", body=iter(pieces))
    assert got["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


@fact
def what_is_of_one_hop_stays_there():
    got = echo(
        headers={
            "connection": "x-mine, close",
            "x-mine": "secret",
            "keep-alive": "timeout=5",
            "proxy-authorization": "Basic c2VjcmV0",
            "te": "trailers, deflate",
            "upgrade": "nothing",
            "x-kept": "kept",
        }
    )
    for name in ("x-mine", "keep-alive", "proxy-authorization", "upgrade"):
        assert name not in got["headers"], (name, got["headers"])
    assert "deflate" not in "".join(got["headers"].get("te", [])), got["headers"]
    assert got["headers"]["x-kept"] == ["kept"]
    answer = got["answer"]
    assert "x-of-the-hop" not in answer and answer["x-kept"] == "kept", dict(answer)
    assert answer.get_all("set-cookie") == ["one=1", "two=2"], "cookies were joined"


@fact
def the_upstream_learns_who_calls():
    headers = echo()["headers"]
    assert any("127.0.0.1" in value for value in headers["x-forwarded-for"]), headers
    assert headers["x-forwarded-proto"] == ["http"], headers
    assert any("1.1" in value for value in headers["via"]), headers


@fact
def nobody_can_pretend_to_be_another():
    headers = echo(
        headers={
            "x-forwarded-for": "203.0.113.9",
            "forwarded": "for=203.0.113.9;proto=https",
            "x-forwarded-proto": "https",
            "x-forwarded-host": "evil.example",
        }
    )["headers"]
    told = json.dumps({name: headers[name] for name in headers if "forwarded" in name})
    assert "203.0.113.9" not in told and "evil.example" not in told, told
    assert "https" not in told, told


@fact
def a_status_passes():
    for status in (201, 204, 302, 304, 404, 418, 500, 503):
        got, headers, _ = ask("GET", f"/status/{status}")
        assert got == status, (got, status)
        if status == 302:
            assert headers["location"] == "http://127.0.0.1:9/elsewhere", "followed or changed"


@fact
def the_answer_to_head_passes():
    status, headers, body = ask("HEAD", "/echo")
    assert status == 200 and int(headers["content-length"]) > 0 and body == b"", headers


@fact
def an_answer_streams():
    connection = connect()
    connection.request("GET", "/slow", headers={"authorization": f"Bearer {GATEWAY_KEY}"})
    answer = connection.getresponse()
    stamps = []
    while line := answer.readline():
        if line.strip():
            stamps.append(time.monotonic())
    assert len(stamps) == 5 and stamps[-1] - stamps[0] > 0.3, stamps
    connection.close()


@fact
def a_request_streams():
    # The upstream answers at the end; here it is enough that slow pieces are not held against us.
    def pieces():
        for _ in range(5):
            yield b"x" * 1000
            time.sleep(0.05)

    assert echo("POST", body=pieces())["length"] == 5000


@fact
def an_upstream_that_says_nothing_is_a_bad_gateway():
    status, headers, body = ask("POST", "/close", b"x")
    assert status == 502, (status, body[:300])
    assert headers["content-type"] == "application/problem+json", headers
    problem = json.loads(body)
    assert problem["status"] == 502 and problem["code"] == "bad_gateway", problem


@fact
def an_answer_that_breaks_off_is_not_taken_for_whole():
    try:
        ask("GET", "/cut")
    except (http.client.IncompleteRead, ConnectionResetError):
        return
    raise AssertionError("ten bytes of a hundred were taken for the whole")


@fact
def one_connection_takes_many_calls():
    connection = connect()
    for number in range(50):
        path = f"/echo?{number}"
        connection.request("GET", path, headers={"authorization": f"Bearer {GATEWAY_KEY}"})
        assert json.loads(connection.getresponse().read())["path"] == path
    connection.close()


@fact
def a_request_cannot_be_smuggled():
    head = f"POST /echo HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {GATEWAY_KEY}\r\n"
    inner = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    for framing in (
        "content-length: 5\r\ncontent-length: 6\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "host: y\r\n",
    ):
        with socket.create_connection((HOST, PORT), timeout=3) as stream:
            stream.sendall(f"{head}{framing}\r\n0\r\n\r\n{inner}".encode())
            out = b""
            try:
                while piece := stream.recv(65536):
                    out += piece
            except (TimeoutError, ConnectionResetError):
                pass
        assert b"/smuggled" not in out, (framing, out[:400])


if __name__ == "__main__":
    run()
