"""The official `anthropic` package against a gateway, with only `base_url` and `api_key` changed.

    BASE_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=… python anthropic_sdk.py [PART OF A NAME …]

With VENDOR=1 a vendor answers, and what only the simulator promises is skipped. CHAT_MODEL names
another model than the first that is listed. With MOCK_VENDOR=1 the vendor is the `mock_vendor`
example, whose models fail by name.
"""

import asyncio
import json
import os
import urllib.request

import anthropic
from anthropic import Anthropic, AsyncAnthropic

from facts import BASE_URL, GATEWAY_KEY, PROTOCOL, fact, run

ROOT = BASE_URL.removesuffix("/v1")
client = Anthropic(base_url=ROOT, api_key=GATEWAY_KEY, max_retries=0, timeout=30)


def pick_model():
    ids = [model.id for model in client.models.list()]
    chats = [id for id in ids if "embed" not in id]
    assert chats, f"no model chats: {ids}"
    return os.environ.get("CHAT_MODEL") or chats[0]


CHAT = pick_model()
HELLO = [{"role": "user", "content": "Say hello."}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

WEATHER = {
    "name": "get_weather",
    "description": "The weather at a place.",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 2},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
TIME = {
    "name": "get_time",
    "input_schema": {
        "type": "object",
        "properties": {"zone": {"type": "string"}},
        "required": ["zone"],
        "additionalProperties": False,
    },
}


def ask(messages=HELLO, **more):
    return client.messages.create(**{"model": CHAT, "max_tokens": 1000, "messages": messages, **more})


def said(message):
    return "".join(block.text for block in message.content if block.type == "text")


def calls(message):
    found = [block for block in message.content if block.type == "tool_use"]
    for call in found:
        assert call.id and call.name in ("get_weather", "get_time"), call
        schema = (WEATHER if call.name == "get_weather" else TIME)["input_schema"]
        assert set(call.input) == set(schema["properties"]), call
    return found


def refused(error, call):
    """The error of this class that a call must end with."""
    try:
        answer = call()
    except error as caught:
        return caught
    raise AssertionError(f"expected {error.__name__}, got {answer!r}"[:400])


@fact
def models_are_listed_and_retrieved():
    page = client.models.list()
    assert CHAT in [model.id for model in page], page
    model = client.models.retrieve(CHAT)
    assert (model.type, model.id) == ("model", CHAT), model
    error = refused(anthropic.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.body["error"]["type"] == "not_found_error", error.body


@fact
def a_message_is_answered():
    message = ask()
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert said(message) and message.id and message.model, message
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0, message.usage


@fact(simulator=True)
def the_operator_is_heard_and_the_output_ends_at_its_limit():
    message = ask(system="Be brief.", messages=[{"role": "user", "content": "one two three four five six"}], max_tokens=3)
    assert message.stop_reason == "max_tokens", message
    assert message.usage.output_tokens == 3, message.usage


# Bedrock cannot be told to call no tool where some were called before.
@fact(not_over=("bedrock",))
def what_coding_agents_send_is_taken():
    cached = {"type": "ephemeral"}
    tools = [
        {
            "name": f"tool_{at}",
            "description": "Does it.",
            "input_schema": {
                "type": "object",
                "properties": {"deep": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}},
            },
        }
        for at in range(40)
    ]
    tools[-1]["cache_control"] = cached
    message = client.beta.messages.create(
        model=CHAT,
        max_tokens=32000,
        betas=["interleaved-thinking-2025-05-14"],
        system=[{"type": "text", "text": "You are an agent.", "cache_control": cached}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "List the files."}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "So."},
                {"type": "tool_use", "id": "toolu_01", "name": "tool_1", "input": {"deep": []}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": "a.rs", "is_error": False},
                {"type": "text", "text": "And now?", "cache_control": cached},
            ]},
        ],
        tools=tools,
        tool_choice={"type": "none"},
        metadata={"user_id": "user_1"},
        thinking={"type": "enabled", "budget_tokens": 2000},
        extra_body={"temperature": 1},
    )
    assert said(message), message


@fact
def a_stream_adds_up_to_a_message():
    with client.messages.stream(model=CHAT, max_tokens=1000, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == said(message) and text, message
    assert message.stop_reason == "end_turn", message
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0, message.usage


@fact
def the_events_of_a_stream_are_in_order():
    names = [event.type for event in ask(stream=True)]
    names = [name for name in names if name != "ping"]
    assert names[0] == "message_start", names
    assert names[-2:] == ["message_delta", "message_stop"], names
    assert names[1] == "content_block_start" and names[-3] == "content_block_stop", names


@fact
def a_stream_on_the_wire_has_named_events_and_no_other_end():
    body = {"model": CHAT, "max_tokens": 100, "stream": True, "messages": HELLO}
    request = urllib.request.Request(
        f"{BASE_URL}/messages",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-api-key": GATEWAY_KEY},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    assert "[DONE]" not in text, text[-200:]
    events = text.strip().split("\n\n")
    for event in events:
        name, data = event.split("\n")
        assert name == "event: " + json.loads(data.removeprefix("data: "))["type"], event
    assert events[-1].startswith("event: message_stop"), events[-1]


@fact
def tools_are_called_streamed_or_not():
    question = [{"role": "user", "content": "What is the weather in Paris, and the time? Use both."}]
    more = {"tools": [WEATHER, TIME], "tool_choice": {"type": "any"}}
    message = ask(question, **more)
    assert calls(message) and message.stop_reason == "tool_use", message
    with client.messages.stream(model=CHAT, max_tokens=1000, messages=question, **more) as stream:
        streamed = stream.get_final_message()
    assert [call.name for call in calls(streamed)] == [call.name for call in calls(message)]
    alone = ask(question, tools=[WEATHER, TIME], tool_choice={"type": "tool", "name": "get_time"})
    assert [call.name for call in calls(alone)] == ["get_time"], alone


@fact
def results_of_tools_are_read():
    question = {"role": "user", "content": "What is the weather in Paris?"}
    message = ask([question], tools=[WEATHER], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    (call,) = calls(message)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Rain, 9 degrees."}]}
    answer = ask(
        [question, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}],
        tools=[WEATHER],
    )
    assert said(answer) and answer.stop_reason == "end_turn", answer


@fact
def an_image_is_taken():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    assert said(ask([{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}]))


@fact
def tokens_are_counted():
    short = client.messages.count_tokens(model=CHAT, messages=HELLO)
    long = client.messages.count_tokens(model=CHAT, messages=HELLO, system="Be brief. " * 20)
    assert 0 < short.input_tokens < long.input_tokens, (short, long)


@fact
async def twenty_at_once_are_answered():
    async with AsyncAnthropic(base_url=ROOT, api_key=GATEWAY_KEY, max_retries=0, timeout=30) as many:

        async def one(at):
            content = f"Number {at}."
            async with many.messages.stream(
                model=CHAT, max_tokens=100, messages=[{"role": "user", "content": content}]
            ) as stream:
                return said(await stream.get_final_message())

        answers = await asyncio.gather(*(one(at) for at in range(20)))
    assert all(answers), answers


@fact
def a_wrong_key_is_an_authentication_error():
    wrong = Anthropic(base_url=ROOT, api_key="wrong-key-0123456789", max_retries=0)
    error = refused(
        anthropic.AuthenticationError,
        lambda: wrong.messages.create(model=CHAT, max_tokens=10, messages=HELLO),
    )
    assert error.body["error"]["type"] == "authentication_error", error.body
    assert "wrong-key" not in str(error.body), error.body


@fact
def a_bearer_token_is_taken_too():
    bearer = Anthropic(base_url=ROOT, auth_token=GATEWAY_KEY, api_key=None, max_retries=0)
    assert said(bearer.messages.create(model=CHAT, max_tokens=100, messages=HELLO))


@fact
def a_malformed_message_is_a_bad_request_with_its_path():
    wrong = [{"role": "user", "content": [{"type": "text", "text": 5}]}]
    error = refused(anthropic.BadRequestError, lambda: ask(wrong))
    assert error.body["error"]["type"] == "invalid_request_error", error.body
    # A vendor of the protocol judges by itself.
    if PROTOCOL != "anthropic":
        assert "messages[0].content[0].text" in error.message, error.message


@fact(simulator=True)
def an_unknown_model_is_not_found():
    error = refused(anthropic.NotFoundError, lambda: ask(model="no-such-model"))
    assert error.body["type"] == "error" and error.body["error"]["type"] == "not_found_error", error.body


@fact
def a_path_that_is_not_served_is_an_error_of_the_protocol():
    error = refused(anthropic.NotFoundError, lambda: client.messages.batches.list())
    assert error.body["error"]["type"] == "not_found_error", error.body


@fact(needs="MOCK_VENDOR")
def what_a_model_thought_goes_back_to_it():
    question = {"role": "user", "content": "One two."}
    message = ask([question], model="mock-thinks")
    assert message.content[0].type == "thinking" and message.content[0].thinking == "It thinks.", message
    more = {"role": "user", "content": "And three?"}
    # The vendor refuses what it did not sign.
    answer = ask([question, {"role": "assistant", "content": message.content}, more], model="mock-thinks")
    assert said(answer) == "And three?", answer
    with client.messages.stream(model="mock-thinks", max_tokens=100, messages=[question]) as stream:
        message = stream.get_final_message()
    answer = ask([question, {"role": "assistant", "content": message.content}, more], model="mock-thinks")
    assert said(answer) == "And three?", answer


@fact(needs="MOCK_VENDOR")
def what_a_vendor_refuses_has_its_class():
    def failing(model):
        return lambda: ask(model=model)

    error = refused(anthropic.RateLimitError, failing("mock-429"))
    assert error.body["error"]["type"] == "rate_limit_error", error.body
    error = refused(anthropic.InternalServerError, failing("mock-503"))
    assert (error.status_code, error.body["error"]["type"]) == (529, "overloaded_error"), error.body
    error = refused(anthropic.InternalServerError, failing("mock-401"))
    assert (error.status_code, error.body["error"]["type"]) == (502, "api_error"), error.body


@fact(needs="MOCK_VENDOR")
def a_stream_that_breaks_ends_in_an_error():
    for model in ("mock-broken", "mock-cut"):
        text = []

        def read():
            with client.messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
                text.extend(stream.text_stream)

        refused(anthropic.APIError, read)
        assert "".join(text), f"{model}: nothing came before the error"


if __name__ == "__main__":
    run()
