"""The official `cohere` package against a gateway, with only its address and key changed: documents ranked.

    BASE_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=… python cohere_sdk.py [PART OF A NAME …]

CHAT_MODEL names another model than the simulator's. PROTOCOL names that of the vendor, if one answers: not
all can rank.
"""

import os

import cohere
from cohere.core.api_error import ApiError

from facts import BASE_URL, GATEWAY_KEY, PROTOCOL, fact, run

ROOT = BASE_URL.removesuffix("/v1")
MODEL = os.environ.get("CHAT_MODEL") or "sim-rerank"
QUERY = "What is the capital of France?"
DOCUMENTS = ["Berlin is large.", "The capital of France is Paris.", "Bread and wine."]
# Of these protocols none has a word for it.
CANNOT = ("anthropic", "gemini", "bedrock", "responses")
client = cohere.ClientV2(api_key=GATEWAY_KEY, base_url=ROOT, timeout=30)


def ranked(client=client, **more):
    # It tries again by itself where it can.
    options = {"max_retries": 0}
    more = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS, **more}
    return client.rerank(request_options=options, **more)


def refused(status, call):
    try:
        answer = call()
    except ApiError as caught:
        assert caught.status_code == status, caught
        return caught
    raise AssertionError(f"expected {status}, got {answer!r}"[:400])


@fact(not_over=CANNOT)
def documents_are_ranked():
    answer = ranked()
    places = [result.index for result in answer.results]
    scores = [result.relevance_score for result in answer.results]
    assert sorted(places) == [0, 1, 2] and places[0] == 1, places
    assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1, scores
    assert answer.id, answer


@fact(not_over=CANNOT)
def as_many_as_are_asked_for():
    [best] = ranked(top_n=1).results
    assert best.index == 1, best


@fact
def a_vendor_that_cannot_rank_says_so():
    if PROTOCOL in CANNOT:
        error = refused(404, ranked)
        assert error.body["message"], error.body


@fact
def no_documents_are_refused():
    error = refused(400, lambda: ranked(documents=[]))
    assert error.body["message"], error.body


@fact
def a_wrong_key_is_refused():
    other = cohere.ClientV2(api_key="not-the-key-of-anybody", base_url=ROOT, timeout=30)
    error = refused(401, lambda: ranked(other))
    assert error.body["message"] and "not-the-key" not in str(error.body), error.body


run()
