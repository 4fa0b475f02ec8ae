"""The official `openai` package against a gateway, with only `base_url` and `api_key` changed.

    BASE_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=… python openai_sdk.py [PART OF A NAME …]

With LIMITED_URL, a second gateway that lets two calls a minute through, the rate limit is checked
too. With VENDOR=1 a vendor answers, and what only the simulator promises is skipped. CHAT_MODEL and
EMBED_MODEL name other models than the first that are listed. With MOCK_VENDOR=1 the vendor is the
`mock_vendor` example, whose models fail by name.
"""

import asyncio
import base64
import enum
import json
import math
import os
import struct
import time
import urllib.request
import zlib
from typing import Literal, Optional

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from facts import BASE_URL, GATEWAY_KEY, PROTOCOL, fact, run

ROOT = BASE_URL.removesuffix("/v1")
client = OpenAI(base_url=BASE_URL, api_key=GATEWAY_KEY, max_retries=0, timeout=30)


def pick_models():
    """The first model that chats, and the first that embeds."""
    ids = [model.id for model in client.models.list()]
    chats = [id for id in ids if "embed" not in id]
    embeds = [id for id in ids if "embed" in id]
    assert chats, f"no model chats: {ids}"
    chat = os.environ.get("CHAT_MODEL") or chats[0]
    return chat, os.environ.get("EMBED_MODEL") or (embeds[0] if embeds else None)


CHAT, EMBED = pick_models()

HELLO = [{"role": "user", "content": "Say hello."}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 2},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string"}, "precise": {"type": "boolean"}},
            "required": ["zone", "precise"],
            "additionalProperties": False,
        },
    },
}
TOOLS = {tool["function"]["name"]: tool for tool in (WEATHER, TIME)}


def chat(messages=HELLO, **more):
    return client.chat.completions.create(model=CHAT, messages=messages, **more)


def satisfies(value, schema):
    """As much of JSON Schema as the tools here use."""
    kinds = {"string": str, "integer": int, "boolean": bool, "object": dict}
    assert isinstance(value, kinds[schema["type"]]), (value, schema)
    assert not (schema["type"] == "integer" and isinstance(value, bool)), (value, schema)
    if "enum" in schema:
        assert value in schema["enum"], (value, schema)
    if isinstance(value, str):
        assert len(value) >= schema.get("minLength", 0), (value, schema)
    if isinstance(value, int):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), value
    if isinstance(value, dict):
        properties = schema["properties"]
        assert set(schema["required"]) <= set(value) <= set(properties), (value, schema)
        for name, inner in value.items():
            satisfies(inner, properties[name])


def called(call):
    """Checks one tool call, and gives its arguments."""
    assert call.type == "function" and call.id, call
    arguments = json.loads(call.function.arguments)
    satisfies(arguments, TOOLS[call.function.name]["function"]["parameters"])
    return arguments


def refused(error, call):
    """The error of this class that a call must end with."""
    try:
        answer = call()
    except error as caught:
        return caught
    raise AssertionError(f"expected {error.__name__}, got {answer!r}"[:400])


def red_square():
    """A PNG of 8 × 8 pixels, as a data URL."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = zlib.compress((b"\0" + b"\xff\0\0" * 8) * 8)
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


# Models


@fact
def models_are_listed():
    models = list(client.models.list())
    assert all(model.object == "model" and model.id for model in models), models
    assert len({model.id for model in models}) == len(models), "listed twice"


@fact
def a_model_can_be_retrieved():
    assert client.models.retrieve(CHAT).id == CHAT


@fact
def an_unknown_model_cannot_be_retrieved():
    error = refused(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.code == "model_not_found", error.body


# Chat


@fact
def a_chat_is_answered():
    answer = chat()
    assert answer.object == "chat.completion" and answer.id and answer.model, answer
    assert answer.created > 0, answer
    [choice] = answer.choices
    assert choice.index == 0 and choice.finish_reason == "stop", choice
    assert choice.message.role == "assistant" and choice.message.content, choice
    assert not choice.message.tool_calls, choice
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage


@fact(simulator=True)
def the_simulator_always_says_the_same():
    first, second = chat(), chat()
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.usage == second.usage


@fact
def all_roles_and_part_lists_are_taken():
    answer = chat(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Ça va? 👋"}]},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Good."},
        ],
        temperature=0.2,
        top_p=0.9,
        stop=["\n\n\n"],
        seed=7,
        user="ann",
        metadata={"case": "roles"},
    )
    assert answer.choices[0].message.content


@fact(simulator=True)
def the_output_ends_at_its_limit():
    answer = chat(max_completion_tokens=1)
    assert answer.choices[0].finish_reason == "length", answer
    assert answer.usage.completion_tokens == 1, answer.usage


@fact
def every_answer_carries_a_request_id():
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=HELLO)
    other = client.chat.completions.with_raw_response.create(model=CHAT, messages=HELLO)
    assert raw.headers["content-type"].startswith("application/json"), raw.headers
    assert raw.headers["x-request-id"] != other.headers["x-request-id"]
    assert raw.parse()._request_id == raw.headers["x-request-id"]


@fact
def a_good_answer_says_what_is_left():
    headers = client.chat.completions.with_raw_response.create(model=CHAT, messages=HELLO).headers
    limit = int(headers["x-ratelimit-limit-requests"])
    assert 0 <= int(headers["x-ratelimit-remaining-requests"]) < limit, headers


# Streams


@fact
def a_stream_without_usage_has_none():
    chunks = list(chat(stream=True))
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert all(len(chunk.choices) == 1 for chunk in chunks), "a chunk without a choice"
    assert all(chunk.usage is None for chunk in chunks), "usage that nobody asked for"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons[-1] == "stop" and reasons.count(None) == len(reasons) - 1, reasons
    assert len({chunk.id for chunk in chunks}) == 1, "the id changes"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@fact
def a_stream_with_usage_ends_with_it():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1]), "usage before the end"
    assert chunks[-2].choices[0].finish_reason == "stop", chunks[-2]


@fact(simulator=True)
def a_stream_adds_up_to_the_whole_answer():
    whole = chat()
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


@fact
def a_stream_on_the_wire_ends_with_done():
    for usage in ({}, {"stream_options": {"include_usage": True}}):
        body = {"model": CHAT, "messages": HELLO, "stream": True, **usage}
        request = urllib.request.Request(
            f"{BASE_URL}/chat/completions",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {GATEWAY_KEY}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers
            assert answer.headers["content-length"] is None
            events = answer.read().decode().replace("\r\n", "\n").split("\n\n")
        assert events[-1] == "" and events[-2] == "data: [DONE]", events[-2:]
        assert events.count("data: [DONE]") == 1
        with_usage = [event for event in events if '"total_tokens"' in event]
        assert len(with_usage) == (1 if usage else 0), with_usage


@fact
def the_first_chunk_does_not_wait_for_the_last():
    start = time.monotonic()
    stamps = [time.monotonic() - start for _ in chat(stream=True)]
    assert len(stamps) >= 3, "too short to tell"
    # Buffered, all would come at once at the end.
    assert stamps[0] < stamps[-1] or stamps[-1] < 0.005, stamps


@fact
def a_stream_can_be_hung_up_on():
    for _ in range(20):
        with chat(stream=True) as stream:
            next(iter(stream))
    assert urllib.request.urlopen(f"{ROOT}/health/ready", timeout=5).status == 200
    assert chat().choices[0].message.content


@fact
def the_streaming_helper_gathers_the_answer():
    with client.chat.completions.stream(
        model=CHAT, messages=HELLO, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    assert answer.choices[0].message.content and answer.usage.total_tokens > 0


# Tools


@fact
def a_tool_is_called_with_arguments_that_fit():
    answer = chat([{"role": "user", "content": "What is the weather in Oslo?"}], tools=[WEATHER])
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls", choice
    [call] = choice.message.tool_calls
    called(call)


def two_calls():
    messages = [
        {"role": "user", "content": "Call both tools: two calls, the weather in Oslo and the time."}
    ]
    return messages, chat(messages, tools=[WEATHER, TIME])


@fact
def two_tools_are_called_at_once():
    _, answer = two_calls()
    calls = answer.choices[0].message.tool_calls
    assert len(calls) == 2 and len({call.id for call in calls}) == 2, calls
    for call in calls:
        called(call)


@fact
def tool_calls_are_streamed_by_index():
    messages, whole = two_calls()
    parts = {}
    reason = None
    for chunk in chat(messages, tools=[WEATHER, TIME], stream=True):
        [choice] = chunk.choices
        reason = choice.finish_reason or reason
        for delta in choice.delta.tool_calls or []:
            part = parts.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            part["id"] += delta.id or ""
            part["name"] += delta.function.name or ""
            part["arguments"] += delta.function.arguments or ""
    assert reason == "tool_calls" and sorted(parts) == [0, 1], (reason, parts)
    for part in parts.values():
        satisfies(json.loads(part["arguments"]), TOOLS[part["name"]]["function"]["parameters"])
    names = [call.function.name for call in whole.choices[0].message.tool_calls]
    assert [parts[0]["name"], parts[1]["name"]] == names


@fact
def results_of_tools_are_read():
    messages, answer = two_calls()
    message = answer.choices[0].message
    # As the SDK's own users do it: the message itself goes back.
    messages.append(message)
    for call in message.tool_calls:
        result = json.dumps({"ok": True, "asked": called(call)})
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    last = chat(messages, tools=[WEATHER, TIME])
    assert last.choices[0].finish_reason == "stop" and last.choices[0].message.content, last


@fact
def tool_choice_is_obeyed():
    none = chat(tools=[WEATHER], tool_choice="none")
    assert none.choices[0].finish_reason == "stop" and not none.choices[0].message.tool_calls
    choice = {"type": "function", "function": {"name": "get_time"}}
    [call] = chat(tools=[WEATHER, TIME], tool_choice=choice).choices[0].message.tool_calls
    assert call.function.name == "get_time"
    called(call)


class Zone(BaseModel):
    """The time in a zone."""

    name: str
    hours: int


@fact
def arguments_are_parsed_into_a_class():
    tool = openai.pydantic_function_tool(Zone)
    answer = client.chat.completions.parse(model=CHAT, messages=HELLO, tools=[tool])
    [call] = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Zone), call


# Structured output


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Step(BaseModel):
    explanation: str
    cost: float


class Plan(BaseModel):
    title: str
    kind: Literal["short", "long"]
    colour: Colour
    steps: list[Step]
    count: int
    done: bool
    note: Optional[str]


@fact
def an_answer_satisfies_a_schema():
    answer = client.chat.completions.parse(model=CHAT, messages=HELLO, response_format=Plan)
    plan = answer.choices[0].message.parsed
    assert isinstance(plan, Plan), answer
    assert all(isinstance(step, Step) for step in plan.steps)


@fact
def a_stream_satisfies_a_schema():
    with client.chat.completions.stream(
        model=CHAT, messages=HELLO, response_format=Plan
    ) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    assert isinstance(answer.choices[0].message.parsed, Plan), answer


@fact(not_over=("anthropic", "bedrock"))
def an_answer_can_be_any_json_object():
    messages = [{"role": "user", "content": "Answer in JSON."}]
    answer = chat(messages, response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


# Vision


@fact
def an_image_is_taken():
    parts = [
        {"type": "text", "text": "Which colour is this?"},
        {"type": "image_url", "image_url": {"url": red_square(), "detail": "low"}},
    ]
    answer = chat([{"role": "user", "content": parts}])
    assert answer.choices[0].message.content


# The asynchronous client


@fact
async def twenty_chats_at_once_are_answered():
    async with AsyncOpenAI(
        base_url=BASE_URL, api_key=GATEWAY_KEY, max_retries=0, timeout=30
    ) as many:

        async def one(number):
            messages = [{"role": "user", "content": f"Number {number}."}]
            if number % 2:
                answer = await many.chat.completions.create(model=CHAT, messages=messages)
                return answer.choices[0].message.content
            stream = await many.chat.completions.create(
                model=CHAT, messages=messages, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        assert all(await asyncio.gather(*(one(number) for number in range(20))))


@fact
async def a_stream_is_cancelled_with_its_task():
    async with AsyncOpenAI(
        base_url=BASE_URL, api_key=GATEWAY_KEY, max_retries=0, timeout=30
    ) as many:

        async def read(seen):
            stream = await many.chat.completions.create(
                model=CHAT, messages=HELLO, stream=True
            )
            async for _ in stream:
                seen.set()

        seen = asyncio.Event()
        task = asyncio.create_task(read(seen))
        await seen.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        answer = await many.chat.completions.create(model=CHAT, messages=HELLO)
        assert answer.choices[0].message.content


# Legacy completions


@fact
def a_prompt_is_completed():
    answer = client.completions.create(model=CHAT, prompt="Once upon a time", max_tokens=16)
    assert answer.object == "text_completion" and answer.choices[0].text, answer
    assert answer.usage.total_tokens > 0, answer


@fact
def a_prompt_is_completed_in_a_stream():
    stream = client.completions.create(
        model=CHAT, prompt="Once upon a time", max_tokens=16, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream)


# Embeddings


def embed(input, **more):
    assert EMBED, "no model embeds"
    return client.embeddings.create(model=EMBED, input=input, **more)


def length(vector):
    return math.sqrt(sum(value * value for value in vector))


@fact(not_over=("anthropic", "bedrock", "responses"))
def a_text_is_embedded():
    answer = embed("The quick brown fox.")
    assert answer.object == "list" and answer.usage.prompt_tokens > 0, answer
    [item] = answer.data
    assert len(item.embedding) >= 8 and abs(length(item.embedding) - 1) < 1e-3, item


@fact(not_over=("anthropic", "bedrock", "responses"))
def base64_and_floats_say_the_same():
    # By default the package asks for base64 and decodes it.
    default = embed("The quick brown fox.").data[0].embedding
    floats = embed("The quick brown fox.", encoding_format="float").data[0].embedding
    assert len(default) == len(floats)
    assert all(abs(one - other) < 1e-6 for one, other in zip(default, floats))
    text = embed("The quick brown fox.", encoding_format="base64").data[0].embedding
    values = struct.unpack(f"<{len(floats)}f", base64.b64decode(text))
    assert all(abs(one - other) < 1e-6 for one, other in zip(values, floats))


@fact(not_over=("anthropic", "bedrock", "responses"))
def a_batch_is_embedded_in_order():
    texts = ["one", "two", "three"]
    items = embed(texts).data
    assert [item.index for item in items] == [0, 1, 2]
    for text, item in zip(texts, items):
        alone = embed(text).data[0].embedding
        assert all(abs(one - other) < 1e-6 for one, other in zip(alone, item.embedding))
    assert items[0].embedding != items[1].embedding


# Errors, by the class that the package raises


@fact
def a_wrong_key_is_an_authentication_error():
    canary = "sk-canary-0123456789abcdef"
    stranger = OpenAI(base_url=BASE_URL, api_key=canary, max_retries=0, timeout=30)
    error = refused(openai.AuthenticationError, lambda: stranger.models.list())
    assert error.code == "invalid_api_key" and error.type == "authentication_error", error.body
    assert "canary" not in str(error), "the key is echoed"
    assert error.request_id, "no request id"
    refused(
        openai.AuthenticationError,
        lambda: stranger.chat.completions.create(model=CHAT, messages=HELLO, stream=True),
    )


@fact(simulator=True)
def an_unknown_model_is_not_found():
    call = lambda **more: client.chat.completions.create(
        model="no-such-model", messages=HELLO, **more
    )
    error = refused(openai.NotFoundError, call)
    assert error.code == "model_not_found" and error.type == "invalid_request_error", error.body
    assert error.param == "model", error.body
    refused(openai.NotFoundError, lambda: call(stream=True))
    embedding = lambda: client.embeddings.create(model="no-such-model", input="x")
    if PROTOCOL in ("anthropic", "bedrock", "responses"):
        return
    assert refused(openai.NotFoundError, embedding).code == "model_not_found"


@fact(simulator=True)
def a_malformed_message_is_a_bad_request_with_its_path():
    error = refused(openai.BadRequestError, lambda: chat([{"role": "user", "content": 5}]))
    assert error.type == "invalid_request_error", error.body
    assert "messages" in error.param and "content" in error.param, error.body
    error = refused(openai.BadRequestError, lambda: chat(temperature="hot"))
    assert error.param == "temperature", error.body


@fact
def a_body_that_is_too_large_is_refused():
    messages = [{"role": "user", "content": "x" * (33 << 20)}]
    error = refused(openai.APIStatusError, lambda: chat(messages))
    assert error.status_code == 413 and error.code == "request_too_large", error.body


@fact
def thirty_megabytes_are_taken():
    messages = [{"role": "user", "content": "x" * (30 << 20)}]
    assert chat(messages).choices[0].message.content


@fact(needs="MOCK_VENDOR")
def what_a_model_thought_goes_back_to_it():
    def ask(*messages):
        answer = client.chat.completions.create(model="mock-thinks", messages=messages)
        return answer.choices[0].message

    question = {"role": "user", "content": "One two."}
    message = ask(question)
    assert message.reasoning_content == "It thinks." and message.content == "One two.", message
    # The vendor refuses what it did not sign.
    assert ask(question, message, {"role": "user", "content": "Three?"}).content == "Three?"


@fact(needs="MOCK_VENDOR")
def what_a_vendor_refuses_has_its_class():
    def failing(model):
        return lambda: client.chat.completions.create(model=model, messages=HELLO)

    error = refused(openai.InternalServerError, failing("mock-401"))
    assert error.status_code == 502 and error.code == "upstream_auth", error.body
    error = refused(openai.RateLimitError, failing("mock-429"))
    assert error.code == "upstream_rate_limited", error.body
    assert int(error.response.headers["retry-after"]) >= 1, error.response.headers
    error = refused(openai.InternalServerError, failing("mock-503"))
    assert error.status_code == 503 and error.code == "upstream_overloaded", error.body
    refused(openai.InternalServerError, failing("mock-500"))


@fact(needs="MOCK_VENDOR")
def a_stream_that_breaks_ends_in_an_error():
    for model in ("mock-broken", "mock-cut"):
        text = []

        def read():
            for chunk in client.chat.completions.create(
                model=model, messages=HELLO, stream=True
            ):
                text.append(chunk.choices[0].delta.content or "")

        refused(openai.APIError, read)
        assert "".join(text), f"{model}: nothing came before the error"


@fact(needs="LIMITED_URL")
def the_third_of_two_calls_a_minute_is_a_rate_limit_error():
    limited = OpenAI(
        base_url=os.environ["LIMITED_URL"], api_key=GATEWAY_KEY, max_retries=0, timeout=30
    )
    call = lambda: limited.chat.completions.create(model=CHAT, messages=HELLO)
    for _ in range(2):
        call()
    error = refused(openai.RateLimitError, call)
    assert error.code == "rate_limit_exceeded" and error.type == "rate_limit_error", error.body
    assert 1 <= int(error.response.headers["retry-after"]) <= 60, error.response.headers
    assert error.response.headers["x-ratelimit-limit-requests"] == "2"
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"


if __name__ == "__main__":
    run()
