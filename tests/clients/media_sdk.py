"""The official `openai` package against a gateway before `media_vendor.py`: what is passed on as it came.

    BASE_URL=http://127.0.0.1:8080/v1 GATEWAY_KEY=… python media_sdk.py [PART OF A NAME …]
"""

import base64
import hashlib

import openai
from openai import OpenAI

from facts import BASE_URL, GATEWAY_KEY, fact, run

client = OpenAI(base_url=BASE_URL, api_key=GATEWAY_KEY, max_retries=0, timeout=30)
# More than any one piece of it on the way, and with what looks like the end of a field.
SOUND = b"RIFF" + bytes(range(256)) * 2000 + b"\r\n--\r\n--boundary--\r\n"
HEARD = hashlib.sha256(SOUND).hexdigest()


@fact
def a_text_is_moderated():
    for text, flagged in (("I will kill you.", True), ("Hello.", False)):
        [result] = client.moderations.create(model="brush", input=text).results
        assert result.flagged == flagged and result.categories.violence == flagged, result


@fact
def a_picture_is_painted():
    answer = client.images.generate(model="brush", prompt="A red square.", size="1024x1024")
    assert base64.b64decode(answer.data[0].b64_json) == b"A red square.", answer
    assert answer.usage.total_tokens == 8, answer.usage


@fact
def a_picture_is_changed():
    image = ("a.png", SOUND, "image/png")
    answer = client.images.edit(model="brush", image=image, prompt="Bluer.")
    assert base64.b64decode(answer.data[0].b64_json) == hashlib.sha256(SOUND).digest(), answer


@fact
def a_text_is_spoken():
    answer = client.audio.speech.create(model="mouth", voice="alloy", input="Hello. ")
    assert answer.response.headers["content-type"] == "audio/mpeg", answer.response.headers
    assert answer.read() == b"ID3" + b"Hello. " * 1000


@fact
def speech_comes_as_it_is_made():
    with client.audio.speech.with_streaming_response.create(
        model="mouth", voice="alloy", input="Hello. "
    ) as answer:
        assert b"".join(answer.iter_bytes()) == b"ID3" + b"Hello. " * 1000


@fact
def a_file_is_heard():
    file = ("a.wav", SOUND, "audio/wav")
    answer = client.audio.transcriptions.create(model="ears", file=file)
    assert answer.text == HEARD and answer.heard_by == "ears", answer
    assert answer.usage.total_tokens == 8, answer.usage


@fact
def what_is_heard_may_be_plain_text():
    file = ("a.wav", SOUND, "audio/wav")
    answer = client.audio.transcriptions.create(model="ears", file=file, response_format="text")
    assert answer.strip() == HEARD, answer


@fact
def what_is_heard_may_be_a_stream():
    file = ("a.wav", SOUND, "audio/wav")
    events = list(client.audio.transcriptions.create(model="ears", file=file, stream=True))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].text == HEARD, events


@fact
def the_vendors_own_name_before_the_model_is_left_out():
    file = ("a.wav", SOUND, "audio/wav")
    answer = client.audio.transcriptions.create(model="openai/ears", file=file)
    assert answer.heard_by == "ears" and answer.text == HEARD, answer


@fact
def a_wrong_key_is_refused_before_the_file_is_read():
    other = OpenAI(base_url=BASE_URL, api_key="not-the-key-of-anybody", max_retries=0, timeout=30)
    file = ("a.wav", SOUND, "audio/wav")
    try:
        other.audio.transcriptions.create(model="ears", file=file)
    except openai.AuthenticationError:
        return
    raise AssertionError("it was heard")


run()
