"""The official `google-genai` package against a gateway, with only `base_url` and `api_key` changed.

    BASE_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=… python gemini_sdk.py [PART OF A NAME …]

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
import urllib.error
import urllib.request

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from facts import BASE_URL, GATEWAY_KEY, PROTOCOL, fact, run

ROOT = BASE_URL.removesuffix("/v1")


def client_of(key=GATEWAY_KEY, root=ROOT):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=root, timeout=30_000))


client = client_of()


def pick_models():
    """The first model that chats, and the first that embeds."""
    ids = [model.name.removeprefix("models/") for model in client.models.list()]
    chats = [id for id in ids if "embed" not in id]
    embeds = [id for id in ids if "embed" in id]
    assert chats, f"no model chats: {ids}"
    chat = os.environ.get("CHAT_MODEL") or chats[0]
    return chat, os.environ.get("EMBED_MODEL") or (embeds[0] if embeds else None)


CHAT, EMBED = pick_models()
HELLO = "Say hello."
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

# In the vendor's own dialect of schemas, and in JSON Schema.
WEATHER = types.FunctionDeclaration(
    name="get_weather",
    description="The weather at a place.",
    parameters=types.Schema(
        type=types.Type.OBJECT,
        properties={
            "city": types.Schema(type=types.Type.STRING, min_length=2),
            "unit": types.Schema(type=types.Type.STRING, enum=["celsius", "fahrenheit"]),
        },
        required=["city", "unit"],
    ),
)
TIME = types.FunctionDeclaration(
    name="get_time",
    parameters_json_schema={
        "type": "object",
        "properties": {"zone": {"type": "string"}},
        "required": ["zone"],
        "additionalProperties": False,
    },
)
FIELDS = {"get_weather": {"city", "unit"}, "get_time": {"zone"}}


def ask(contents=HELLO, model=CHAT, on=client, **config):
    config = types.GenerateContentConfig(**config)
    return on.models.generate_content(model=model, contents=contents, config=config)


def stream(contents=HELLO, model=CHAT, **config):
    config = types.GenerateContentConfig(**config)
    return client.models.generate_content_stream(model=model, contents=contents, config=config)


def offered(*functions, mode="AUTO", names=None):
    """The fields of a configuration that offer tools, which are not called by the package itself."""
    calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=names)
    return {
        "tools": [types.Tool(function_declarations=list(functions))],
        "tool_config": types.ToolConfig(function_calling_config=calling),
        "automatic_function_calling": types.AutomaticFunctionCallingConfig(disable=True),
    }


def calls(answer):
    found = answer.function_calls or []
    for call in found:
        assert set(call.args) == FIELDS[call.name], call
    return found


def reason(answer):
    return answer.candidates[0].finish_reason


def refused(error, call):
    """The error of this class that a call must end with."""
    try:
        answer = call()
    except error as caught:
        return caught
    raise AssertionError(f"expected {error.__name__}, got {answer!r}"[:400])


def is_refused(error, code, status):
    assert (error.code, error.status) == (code, status), (error.code, error.status, error.details)


def raw(path, body=None, key=GATEWAY_KEY):
    """The status, the content type and the body of a call without the package."""
    request = urllib.request.Request(
        ROOT + path,
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json", "x-goog-api-key": key},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


# Models


@fact
def models_are_listed_and_retrieved():
    names = [model.name for model in client.models.list()]
    assert f"models/{CHAT}" in names and len(set(names)) == len(names), names
    assert client.models.get(model=CHAT).name == f"models/{CHAT}"
    is_refused(refused(errors.ClientError, lambda: client.models.get(model="no-such-model")), 404, "NOT_FOUND")


# Content


@fact
def content_is_generated():
    answer = ask()
    assert answer.text and answer.response_id and answer.model_version, answer
    assert reason(answer) == types.FinishReason.STOP, answer
    usage = answer.usage_metadata
    assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0, usage
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count, usage


@fact(simulator=True)
def the_operator_is_heard_and_the_output_ends_at_its_limit():
    answer = ask("one two three four five six", system_instruction="Be brief.", max_output_tokens=3)
    assert reason(answer) == types.FinishReason.MAX_TOKENS, answer
    assert answer.usage_metadata.candidates_token_count == 3, answer.usage_metadata


@fact
def all_settings_are_taken():
    answer = ask(
        [
            types.Content(role="user", parts=[types.Part(text="Ça va? 👋")]),
            types.Content(role="model", parts=[types.Part(text="Yes.")]),
            types.Content(role="user", parts=[types.Part(text="Good."), types.Part(text="And now?")]),
        ],
        system_instruction=["Be brief.", "Be kind."],
        temperature=0.2,
        top_p=0.9,
        top_k=40,
        stop_sequences=["\n\n\n"],
        seed=7,
        max_output_tokens=4000,
        safety_settings=[
            types.SafetySetting(category="HARM_CATEGORY_HATE_SPEECH", threshold="BLOCK_ONLY_HIGH")
        ],
    )
    assert answer.text, answer


@fact
def thinking_is_taken():
    for thinking in (
        types.ThinkingConfig(thinking_budget=1024, include_thoughts=True),
        types.ThinkingConfig(thinking_budget=0),
        types.ThinkingConfig(thinking_level="LOW"),
    ):
        assert ask(thinking_config=thinking, max_output_tokens=8000).text


# Streams


@fact
def a_stream_adds_up_to_an_answer():
    chunks = list(stream())
    text = "".join(chunk.text or "" for chunk in chunks)
    assert text == ask().text, text
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert reasons[-1] == types.FinishReason.STOP and reasons.count(None) == len(reasons) - 1, reasons
    assert chunks[-1].usage_metadata.candidates_token_count > 0, chunks[-1]
    assert len({chunk.response_id for chunk in chunks}) == 1, "the id changes"


@fact
def a_stream_on_the_wire_is_of_events_or_one_array():
    body = {"contents": [{"role": "user", "parts": [{"text": HELLO}]}]}
    status, kind, text = raw(f"/v1beta/models/{CHAT}:streamGenerateContent?alt=sse", body)
    assert status == 200 and kind.startswith("text/event-stream"), (status, kind)
    assert "[DONE]" not in text, text[-200:]
    events = [event for event in text.replace("\r\n", "\n").split("\n\n") if event]
    events = [json.loads(event.removeprefix("data: ")) for event in events]
    status, kind, text = raw(f"/v1beta/models/{CHAT}:streamGenerateContent", body)
    assert status == 200 and kind.startswith("application/json"), (status, kind)
    elements = json.loads(text)

    def said(documents):
        parts = [part for one in documents for part in one["candidates"][0]["content"]["parts"]]
        return "".join(part["text"] for part in parts)

    assert said(events) == said(elements) and said(events), (events, elements)
    assert elements[-1]["candidates"][0]["finishReason"] == "STOP", elements[-1]


@fact
def a_stream_can_be_hung_up_on():
    for _ in range(20):
        chunks = stream()
        next(iter(chunks))
        chunks.close()
    assert urllib.request.urlopen(f"{ROOT}/health/ready", timeout=5).status == 200
    assert ask().text


# Tools


@fact
def tools_are_called_streamed_or_not():
    question = "What is the weather in Paris, and the time? Use both."
    answer = ask(question, **offered(WEATHER, TIME, mode="ANY"))
    names = [call.name for call in calls(answer)]
    assert sorted(names) == ["get_time", "get_weather"], answer
    assert reason(answer) == types.FinishReason.STOP, answer
    streamed = [call for chunk in stream(question, **offered(WEATHER, TIME, mode="ANY")) for call in calls(chunk)]
    assert [call.name for call in streamed] == names, streamed
    alone = ask(question, **offered(WEATHER, TIME, mode="ANY", names=["get_time"]))
    assert [call.name for call in calls(alone)] == ["get_time"], alone
    none = ask(question, **offered(WEATHER, TIME, mode="NONE"))
    assert none.text and not none.function_calls, none


@fact
def results_of_tools_are_read():
    question = types.Content(role="user", parts=[types.Part(text="The weather in Paris, and the time. Use both.")])
    answer = ask([question], **offered(WEATHER, TIME, mode="ANY"))
    found = calls(answer)
    assert len(found) == 2, answer
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"ok": call.args}))
        for call in found
    ]
    # As the package's own users do it: the content itself goes back.
    contents = [question, answer.candidates[0].content, types.Content(role="user", parts=results)]
    last = ask(contents, **offered(WEATHER, TIME))
    assert last.text and reason(last) == types.FinishReason.STOP, last
    # Older clients send no ids.
    for part in contents[1].parts + contents[2].parts:
        if part.function_call:
            part.function_call.id = None
        if part.function_response:
            part.function_response.id = None
    assert ask(contents, **offered(WEATHER, TIME)).text


@fact
def a_function_of_python_is_called_by_the_package():
    asked = []

    def get_population(city: str) -> int:
        """How many people live in a city."""
        asked.append(city)
        return 2_000_000

    answer = client.models.generate_content(
        model=CHAT,
        contents="The population of Paris?",
        config=types.GenerateContentConfig(tools=[get_population]),
    )
    assert asked and answer.text, answer


# Structured output


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Step(BaseModel):
    explanation: str
    cost: float


class Plan(BaseModel):
    title: str
    colour: Colour
    steps: list[Step]
    count: int
    done: bool


@fact
def an_answer_satisfies_a_schema():
    answer = ask(response_mime_type="application/json", response_schema=Plan)
    assert isinstance(answer.parsed, Plan), answer
    answer = ask(response_mime_type="application/json", response_schema=list[Step])
    assert all(isinstance(step, Step) for step in answer.parsed), answer
    schema = {**Plan.model_json_schema(), "additionalProperties": False}
    answer = ask(response_mime_type="application/json", response_json_schema=schema)
    Plan.model_validate_json(answer.text)


@fact
def a_stream_satisfies_a_schema():
    chunks = stream(response_mime_type="application/json", response_schema=Plan)
    Plan.model_validate_json("".join(chunk.text or "" for chunk in chunks))


@fact(not_over=("anthropic", "bedrock"))
def an_answer_can_be_any_json_object():
    answer = ask("Answer in JSON.", response_mime_type="application/json")
    assert isinstance(json.loads(answer.text), dict), answer


# Vision


@fact
def an_image_is_taken():
    image = types.Part.from_bytes(data=PNG, mime_type="image/png")
    assert ask([image, "What is it?"]).text


# Sessions


@fact
def a_session_remembers():
    session = client.chats.create(model=CHAT, config=types.GenerateContentConfig(system_instruction="Be brief."))
    assert session.send_message("One.").text
    assert "".join(chunk.text or "" for chunk in session.send_message_stream("Two."))
    assert session.send_message("Three.").text
    roles = [content.role for content in session.get_history()]
    assert roles[:2] == ["user", "model"] and roles[-1] == "model" and roles.count("user") == 3, roles


@fact(needs="MOCK_VENDOR")
def what_a_model_thought_goes_back_to_it():
    session = client.chats.create(model="mock-thinks")
    answer = session.send_message("One two.")
    thoughts = [part for part in answer.candidates[0].content.parts if part.thought]
    assert "".join(part.text or "" for part in thoughts) == "It thinks.", answer
    # The vendor refuses what it did not sign.
    assert "".join(chunk.text or "" for chunk in session.send_message_stream("Three."))
    assert session.send_message("Four.").text


# The asynchronous client


@fact
async def twenty_at_once_are_answered():
    async def one(number):
        contents = f"Number {number}."
        if number % 2:
            return (await client.aio.models.generate_content(model=CHAT, contents=contents)).text
        chunks = await client.aio.models.generate_content_stream(model=CHAT, contents=contents)
        return "".join([chunk.text or "" async for chunk in chunks])

    answers = await asyncio.gather(*(one(number) for number in range(20)))
    assert all(answers), answers


# Tokens and vectors


@fact
def tokens_are_counted():
    short = client.models.count_tokens(model=CHAT, contents=HELLO).total_tokens
    long = client.models.count_tokens(model=CHAT, contents=[HELLO] * 20).total_tokens
    assert 0 < short < long, (short, long)


@fact(not_over=("anthropic", "bedrock", "responses"))
def texts_are_embedded_in_order():
    assert EMBED, "no model embeds"
    texts = ["one", "two", "three"]
    vectors = [one.values for one in client.models.embed_content(model=EMBED, contents=texts).embeddings]
    assert len(vectors) == 3 and vectors[0] != vectors[1], vectors
    for text, vector in zip(texts, vectors):
        [alone] = client.models.embed_content(model=EMBED, contents=text).embeddings
        assert all(abs(one - other) < 1e-6 for one, other in zip(alone.values, vector))
        assert abs(math.sqrt(sum(value * value for value in vector)) - 1) < 1e-3
    config = types.EmbedContentConfig(output_dimensionality=12)
    [short] = client.models.embed_content(model=EMBED, contents="one", config=config).embeddings
    assert len(short.values) == 12, short
    # The package always asks for several.
    body = {"content": {"parts": [{"text": "one"}]}}
    status, _, text = raw(f"/v1beta/models/{EMBED}:embedContent", body)
    assert status == 200 and len(json.loads(text)["embedding"]["values"]) == len(vectors[0]), text


# Errors, by the class that the package raises, and by their status


@fact
def a_wrong_key_is_a_client_error():
    canary = "wrong-canary-0123456789"
    asking, listing = client_of(canary), client_of(canary)
    for call in (lambda: ask(on=asking), lambda: list(listing.models.list())):
        error = refused(errors.ClientError, call)
        is_refused(error, 401, "UNAUTHENTICATED")
        assert "canary" not in str(error), "the key is echoed"


@fact
def a_key_in_the_query_is_taken():
    body = {"contents": [{"parts": [{"text": HELLO}]}]}
    path = f"/v1beta/models/{CHAT}:generateContent?key="
    request = urllib.request.Request(
        ROOT + path + GATEWAY_KEY, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


@fact(simulator=True)
def an_unknown_model_is_not_found():
    is_refused(refused(errors.ClientError, lambda: ask(model="no-such-model")), 404, "NOT_FOUND")
    is_refused(refused(errors.ClientError, lambda: list(stream(model="no-such-model"))), 404, "NOT_FOUND")


@fact
def a_malformed_body_is_an_invalid_argument_with_its_path():
    wrong = {"contents": [{"role": "user", "parts": [{"text": 5}]}]}
    error = refused(errors.ClientError, lambda: ask(http_options=types.HttpOptions(extra_body=wrong)))
    is_refused(error, 400, "INVALID_ARGUMENT")
    # A vendor of the protocol judges by itself.
    if PROTOCOL != "gemini":
        details = error.details["error"]["details"]
        [violation] = [one for detail in details for one in detail.get("fieldViolations", [])]
        assert violation["field"] == "contents[0].parts[0].text", violation


@fact
def a_method_that_is_not_served_is_not_found():
    body = {"contents": [{"parts": [{"text": HELLO}]}]}
    for method in ("predict", "predictLongRunning", "generatecontent", "x"):
        status, _, text = raw(f"/v1beta/models/{CHAT}:{method}", body)
        assert (status, json.loads(text)["error"]["status"]) == (404, "NOT_FOUND"), (method, status, text)


@fact(needs="MOCK_VENDOR")
def what_a_vendor_refuses_has_its_class():
    def failing(model):
        return lambda: ask(model=model)

    error = refused(errors.ClientError, failing("mock-429"))
    is_refused(error, 429, "RESOURCE_EXHAUSTED")
    delays = [detail["retryDelay"] for detail in error.details["error"]["details"] if "retryDelay" in detail]
    assert delays == ["2s"], error.details
    is_refused(refused(errors.ServerError, failing("mock-503")), 503, "UNAVAILABLE")
    is_refused(refused(errors.ServerError, failing("mock-500")), 502, "INTERNAL")
    # The vendor refuses the gateway's key, which is not the fault of the client.
    is_refused(refused(errors.ServerError, failing("mock-401")), 502, "INTERNAL")


@fact(needs="MOCK_VENDOR")
def a_stream_that_breaks_ends_in_an_error():
    for model in ("mock-broken", "mock-cut"):
        text = []

        def read():
            text.extend(chunk.text or "" for chunk in stream(model=model))

        refused(errors.APIError, read)
        assert "".join(text), f"{model}: nothing came before the error"


@fact(needs="LIMITED_URL")
def the_third_of_two_calls_a_minute_is_a_client_error():
    limited = client_of(root=os.environ["LIMITED_URL"].removesuffix("/v1"))

    def three():
        for _ in range(3):
            ask(on=limited)

    error = refused(errors.ClientError, three)
    is_refused(error, 429, "RESOURCE_EXHAUSTED")
    assert any("retryDelay" in detail for detail in error.details["error"]["details"]), error.details


if __name__ == "__main__":
    run()
