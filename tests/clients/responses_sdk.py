"""The Responses of the official `openai` package against a gateway, with only `base_url` and `api_key`
changed.

    BASE_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=… python responses_sdk.py [PART OF A NAME …]

With LIMITED_URL, a second gateway that lets two calls a minute through, the rate limit is checked
too. With VENDOR=1 a vendor answers, and what only the simulator promises is skipped. CHAT_MODEL names
another model than the first that is listed. With MOCK_VENDOR=1 the vendor is the `mock_vendor`
example, whose models fail by name.
"""

import asyncio
import json
import os
import urllib.request

import openai
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from facts import BASE_URL, GATEWAY_KEY, PROTOCOL, fact, run

client = OpenAI(base_url=BASE_URL, api_key=GATEWAY_KEY, max_retries=0, timeout=30)


def pick_model():
    ids = [model.id for model in client.models.list()]
    chats = [id for id in ids if "embed" not in id]
    assert chats, f"no model chats: {ids}"
    return os.environ.get("CHAT_MODEL") or chats[0]


CHAT = pick_model()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather at a place.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
TIME = {
    "type": "function",
    "name": "get_time",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"zone": {"type": "string"}},
        "required": ["zone"],
        "additionalProperties": False,
    },
}


def ask(input="Say hello.", **more):
    return client.responses.create(**{"model": CHAT, "input": input, **more})


def calls(response):
    found = [item for item in response.output if item.type == "function_call"]
    for call in found:
        assert call.call_id and call.id and call.id != call.call_id, call
        schema = (WEATHER if call.name == "get_weather" else TIME)["parameters"]
        assert set(json.loads(call.arguments)) == set(schema["properties"]), call
    return found


def whole(response, status="completed"):
    """All that the types of the package require is there, and is what they say."""
    # The package itself lets anything through: this does not.
    Response.model_validate(response.model_dump(), strict=False)
    assert (response.object, response.status) == ("response", status), response
    assert response.id.startswith("resp_") and response.model and response.created_at > 0, response
    assert response.store is False, response
    assert len({item.id for item in response.output}) == len(response.output), response.output
    for item in response.output:
        prefix = {"message": "msg_", "function_call": "fc_", "reasoning": "rs_"}[item.type]
        assert item.id.startswith(prefix) and len(item.id) <= 64, item
    usage = response.usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0, usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens, usage
    assert usage.input_tokens_details.cached_tokens >= 0, usage
    assert usage.output_tokens_details.reasoning_tokens >= 0, usage
    return response


def refused(error, call):
    """The error of this class that a call must end with."""
    try:
        answer = call()
    except error as caught:
        return caught
    raise AssertionError(f"expected {error.__name__}, got {answer!r}"[:400])


@fact
def a_text_is_answered():
    response = whole(ask(instructions="Be brief.", metadata={"a": "b"}, temperature=0.5, max_output_tokens=500))
    assert response.output_text, response
    (message,) = response.output
    assert (message.role, message.status, message.content[0].type) == ("assistant", "completed", "output_text")
    assert message.content[0].annotations == [], message
    # What was asked for is told again.
    assert response.instructions == "Be brief." and response.metadata == {"a": "b"}, response
    assert (response.temperature, response.max_output_tokens) == (0.5, 500), response
    assert response.parallel_tool_calls is True and response.tools == [] and response.tool_choice == "auto", response
    assert response.text.format.type == "text" and response.error is None, response


@fact
def every_form_of_input_is_taken():
    for input in (
        [{"role": "user", "content": "Say hello."}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello."}]}],
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "One."},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three."},
        ],
    ):
        assert whole(ask(input)).output_text


def in_order(events):
    """What each event of a stream must say, in the order that is promised."""
    names = [event.type.removeprefix("response.") for event in events]
    assert names[:2] == ["created", "in_progress"] and names[-1] in ("completed", "incomplete"), names
    assert [event.sequence_number for event in events] == list(range(len(events))), names
    open_items, parts = {}, set()
    for event in events:
        index = getattr(event, "output_index", None)
        if event.type == "response.output_item.added":
            assert index == len(open_items) and index not in open_items, event
            open_items[index] = event.item.id
        elif event.type == "response.output_item.done":
            assert open_items[index] == event.item.id and not parts, event
            open_items[index] = None
        elif index is not None:
            assert open_items[index] == event.item_id, event
        if event.type == "response.content_part.added":
            parts.add((index, event.content_index))
        elif event.type == "response.content_part.done":
            parts.remove((index, event.content_index))
        elif event.type == "response.output_text.delta":
            assert (index, event.content_index) in parts, event
    assert not any(open_items.values()), open_items
    last = events[-1].response
    assert len(last.output) == len(open_items), last
    assert {event.response.id for event in events if hasattr(event, "response")} == {last.id}
    return last


@fact
def a_stream_says_the_same_in_order():
    events = list(ask("One two three four.", stream=True))
    response = whole(in_order(events))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    done = [event.text for event in events if event.type == "response.output_text.done"]
    assert text and done == [text] and response.output_text == text, events


@fact
def the_helper_of_the_package_puts_a_stream_together():
    with client.responses.stream(model=CHAT, input="One two three.") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        response = stream.get_final_response()
    assert whole(response).output_text == text and text, response


@fact
def a_stream_on_the_wire_has_named_events_and_no_other_end():
    body = {"model": CHAT, "stream": True, "input": "Say hello."}
    request = urllib.request.Request(
        f"{BASE_URL}/responses",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {GATEWAY_KEY}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    assert "[DONE]" not in text, text[-200:]
    events = text.strip().split("\n\n")
    for event in events:
        name, data = event.split("\n")
        assert name == "event: " + json.loads(data.removeprefix("data: "))["type"], event
    assert events[-1].startswith("event: response.completed"), events[-1]


@fact
def a_call_of_a_tool_fits_its_schema():
    response = whole(ask("What is the weather in Paris?", tools=[WEATHER], tool_choice="required"))
    (call,) = calls(response)
    assert call.status == "completed" and response.tool_choice == "required", response
    assert response.tools[0].name == "get_weather", response.tools


@fact
def tools_are_called_at_once_streamed_or_not():
    question = "What is the weather in Paris, and the time? Use both, in parallel."
    more = {"tools": [WEATHER, TIME], "tool_choice": "required", "parallel_tool_calls": True}
    response = whole(ask(question, **more))
    names = [call.name for call in calls(response)]
    assert names and len(set(call.call_id for call in calls(response))) == len(names), response
    events = list(ask(question, stream=True, **more))
    streamed = whole(in_order(events))
    assert [call.name for call in calls(streamed)] == names, streamed
    for call in calls(streamed):
        deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
        assert "".join(event.delta for event in deltas if event.item_id == call.id) == call.arguments
        (done,) = [e for e in events if e.type.endswith("arguments.done") and e.item_id == call.id]
        assert done.arguments == call.arguments, done


@fact
def one_tool_can_be_chosen():
    named = {"type": "function", "name": "get_time"}
    response = ask("What is the time?", tools=[WEATHER, TIME], tool_choice=named)
    assert [call.name for call in calls(response)] == ["get_time"], response
    none = ask("What is the time?", tools=[WEATHER, TIME], tool_choice="none")
    assert none.output_text and not calls(none), none


@fact
def results_of_tools_are_read():
    input = [{"role": "user", "content": "The weather and the time, both in parallel?"}]
    tools = [WEATHER, TIME]
    response = ask(input, tools=tools, tool_choice="required")
    # As the documentation of the package does it.
    input += response.output
    for call in calls(response):
        output = [{"type": "input_text", "text": "Rain."}] if call.name == "get_time" else "Rain, 9 degrees."
        input.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
    answer = whole(ask(input, tools=tools))
    assert answer.output_text and not calls(answer), answer


class Step(BaseModel):
    explanation: str
    minutes: int


class Plan(BaseModel):
    title: str
    steps: list[Step]


@fact
def an_answer_satisfies_a_schema():
    response = client.responses.parse(model=CHAT, input="Plan a day.", text_format=Plan)
    assert isinstance(response.output_parsed, Plan), response
    assert response.text.format.type == "json_schema", response.text
    with client.responses.stream(model=CHAT, input="Plan a day.", text_format=Plan) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Plan)


@fact
def tools_of_the_package_are_parsed():
    class GetTime(BaseModel):
        zone: str

    tool = openai.pydantic_function_tool(GetTime)
    response = client.responses.parse(
        model=CHAT,
        input="What is the time?",
        tools=[{"type": "function", **tool["function"]}],
        tool_choice="required",
    )
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert isinstance(call.parsed_arguments, (GetTime, dict)), call


@fact(not_over=("anthropic", "bedrock"))
def an_answer_can_be_any_json_object():
    response = ask("Answer in JSON.", text={"format": {"type": "json_object"}})
    assert isinstance(json.loads(response.output_text), dict), response


@fact
def an_image_is_taken():
    content = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
    ]
    assert whole(ask([{"role": "user", "content": content}])).output_text


@fact
def what_coding_agents_send_is_taken():
    tools = [
        {
            "type": "function",
            "name": f"tool_{at}",
            "description": "Does it.",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"deep": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}},
            },
        }
        for at in range(40)
    ]
    events = list(
        ask(
            [
                {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox."}]},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List the files."}]},
                {
                    "type": "function_call",
                    "name": "tool_1",
                    "arguments": '{"deep":[]}',
                    "call_id": "call_1",
                },
                {"type": "function_call_output", "call_id": "call_1", "output": "a.rs"},
            ],
            instructions="You are a coding agent.",
            tools=tools,
            tool_choice="auto",
            parallel_tool_calls=False,
            store=False,
            stream=True,
            include=["reasoning.encrypted_content"],
            prompt_cache_key="0198",
            text={"verbosity": "medium"},
        )
    )
    assert whole(in_order(events)).output_text


@fact(needs="MOCK_VENDOR")
def what_a_model_thought_goes_back_to_it():
    more = {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"}}
    question = {"role": "user", "content": "One two."}
    for stream in (False, True):
        response = client.responses.create(model="mock-thinks", input=[question], stream=stream, **more)
        if stream:
            events = list(response)
            deltas = [e.delta for e in events if e.type == "response.reasoning_summary_text.delta"]
            response = in_order(events)
            assert "".join(deltas) == "It thinks.", deltas
        thought, message = whole(response).output
        assert thought.type == "reasoning" and thought.summary[0].text == "It thinks.", thought
        assert thought.encrypted_content or PROTOCOL == "ollama", thought
        # The vendor refuses what it did not sign.
        input = [question, *response.output, {"role": "user", "content": "Three?"}]
        answer = client.responses.create(model="mock-thinks", input=input, **more)
        assert answer.output_text == "Three?", answer


@fact(simulator=True)
def an_answer_ends_at_its_limit():
    words = " ".join(str(at) for at in range(40))
    response = whole(ask(words, max_output_tokens=16), "incomplete")
    assert response.incomplete_details.reason == "max_output_tokens", response
    assert response.output[0].status == "incomplete" and response.usage.output_tokens == 16, response
    events = list(ask(words, max_output_tokens=16, stream=True))
    assert events[-1].type == "response.incomplete", events[-1]
    whole(in_order(events), "incomplete")


@fact(simulator=True)
def tokens_are_counted():
    short = client.responses.input_tokens.count(model=CHAT, input="Hello.")
    long = client.responses.input_tokens.count(model=CHAT, input="Hello.", instructions="Be brief. " * 20)
    assert short.object == "response.input_tokens", short
    assert 0 < short.input_tokens < long.input_tokens, (short, long)


@fact
async def twenty_at_once_are_answered():
    async with AsyncOpenAI(base_url=BASE_URL, api_key=GATEWAY_KEY, max_retries=0, timeout=30) as many:

        async def one(at):
            stream = await many.responses.create(model=CHAT, input=f"Number {at}.", stream=True)
            return [event async for event in stream][-1].response.output_text

        answers = await asyncio.gather(*(one(at) for at in range(20)))
    assert all(answers), answers


# What is refused


@fact
def what_would_have_to_be_kept_is_refused_with_its_name():
    for param, value in (("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("background", True)):
        error = refused(openai.NotFoundError, lambda: ask(**{param: value}))
        assert (error.code, error.param) == ("not_supported", param), error.body
        assert "kept" in error.message, error.message
    error = refused(openai.BadRequestError, lambda: ask([{"type": "item_reference", "id": "msg_1"}]))
    assert error.param == "input[0]", error.body
    for call in (
        lambda: client.responses.retrieve("resp_1"),
        lambda: client.responses.delete("resp_1"),
        lambda: client.responses.cancel("resp_1"),
        lambda: client.responses.input_items.list("resp_1"),
    ):
        error = refused(openai.NotFoundError, call)
        assert (error.code, error.param) == ("not_supported", "response_id"), error.body


@fact
def a_wrong_key_is_an_authentication_error():
    wrong = OpenAI(base_url=BASE_URL, api_key="wrong-key-0123456789", max_retries=0)
    error = refused(openai.AuthenticationError, lambda: wrong.responses.create(model=CHAT, input="Hello."))
    assert error.code == "invalid_api_key" and "wrong-key" not in str(error.body), error.body


@fact
def a_malformed_request_is_a_bad_request_with_its_path():
    wrong = [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]
    error = refused(openai.BadRequestError, lambda: ask(wrong))
    assert error.type == "invalid_request_error", error.body
    assert "input[0].content[0].text" in (error.param or error.message), error.body
    error = refused(openai.BadRequestError, lambda: ask(max_output_tokens=5))
    assert error.param == "max_output_tokens", error.body


@fact(simulator=True)
def an_unknown_model_is_not_found():
    error = refused(openai.NotFoundError, lambda: ask(model="no-such-model"))
    assert error.code == "model_not_found", error.body


@fact(needs="LIMITED_URL")
def a_limit_is_a_rate_limit_error():
    limited = OpenAI(base_url=os.environ["LIMITED_URL"], api_key=GATEWAY_KEY, max_retries=0)

    def often():
        for _ in range(4):
            limited.responses.create(model=CHAT, input="Hello.")

    error = refused(openai.RateLimitError, often)
    assert int(error.response.headers["retry-after"]) > 0, error.response.headers


@fact(needs="MOCK_VENDOR")
def what_a_vendor_refuses_has_its_class():
    def failing(model):
        return lambda: ask(model=model)

    error = refused(openai.RateLimitError, failing("mock-429"))
    assert error.code == "upstream_rate_limited", error.body
    error = refused(openai.InternalServerError, failing("mock-503"))
    assert (error.status_code, error.code) == (503, "upstream_overloaded"), error.body
    error = refused(openai.InternalServerError, failing("mock-401"))
    assert (error.status_code, error.code) == (502, "upstream_auth"), error.body


@fact(needs="MOCK_VENDOR")
def a_stream_that_breaks_ends_in_a_response_that_failed():
    for model in ("mock-broken", "mock-cut"):
        events = list(ask("One two three four five six.", model=model, stream=True))
        assert any(event.type == "response.output_text.delta" for event in events), model
        last = events[-1]
        assert last.type == "response.failed" and last.response.status == "failed", last
        assert last.response.error.message and last.response.id == events[0].response.id, last
        assert [event.sequence_number for event in events] == list(range(len(events))), events


if __name__ == "__main__":
    run()
