"""The `wrap_axum` example: a router that was there before, with layers around it.

    ROOT=http://127.0.0.1:8080 GATEWAY_KEY=… python wrap_axum.py

It uses up the quota of a minute, so start the example with a small RATE_PER_MINUTE.
"""

import json
import os
import urllib.error
import urllib.request

from facts import GATEWAY_KEY, fact, run

ROOT = os.environ.get("ROOT", "http://127.0.0.1:8080")


def get(path="/", key=GATEWAY_KEY):
    request = urllib.request.Request(ROOT + path)
    if key:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def problem(status, code, answer):
    got, headers, body = answer
    assert got == status, (got, body[:300])
    assert headers["content-type"] == "application/problem+json", headers
    document = json.loads(body)
    assert document["status"] == status and document["code"] == code, document
    return headers


@fact
def the_router_answers_who_has_a_key():
    status, _, body = get()
    assert status == 200 and body, (status, body)


@fact
def a_stranger_is_refused_with_a_problem_document():
    headers = problem(401, "missing_api_key", get(key=None))
    assert headers["www-authenticate"].startswith("Bearer"), headers
    problem(401, "invalid_api_key", get(key="wrong-0123456789abcdef"))


@fact
def too_many_calls_are_refused_with_the_time_to_come_back():
    for _ in range(1000):
        answer = get()
        if answer[0] != 200:
            break
    headers = problem(429, "rate_limit_exceeded", answer)
    assert 1 <= int(headers["retry-after"]) <= 60, headers


if __name__ == "__main__":
    run()
