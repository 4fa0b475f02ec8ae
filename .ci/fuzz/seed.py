#!/usr/bin/env python3
"""Makes the corpora to begin with: seed.py TARGET FOLDER DICTIONARY

They are the corpora that the tests of the crate read, the texts in those tests, and what lies in ../shared
beside the repository where there is such a folder. A target reads a byte or two before the text; those come
first here, too.
"""
import base64
import hashlib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
LLM = ["src/llm/**/*.rs", "tests/it/*.rs", "src/testing/*.rs"]
# The bytes before the text, and the sources whose texts are of that kind.
TARGETS = {
    "sse": ([b"\x00\x20", b"\x0a\x05", b"\x07\xff"], ["src/llm/codec/sse/*.rs"] + LLM),
    "event_stream": ([b"\x00", b"\x02", b"\x07"], []),
    "path": ([b"\x00", b"\x01", b"\x02", b"\x04"], ["src/path.rs", "src/route/*.rs", "tests/it/route.rs"]),
    "forwarded": ([b"\x00", b"\x01", b"\x02", b"\x04", b"\x0d"], ["src/client_addr/*.rs", "src/proxy/*.rs", "tests/it/client_addr.rs"]),
    "header": ([b"\x00", b"\x12", b"\x24"], ["src/proxy/*.rs", "tests/it/proxy/*.rs", "tests/it/proxy.rs"]),
    "schema": ([b"\x00", b"\x01", b"\x02", b"\x03"], ["src/llm/simulator/*.rs", "tests/it/simulator.rs"]),
    "chat_request": ([b"\x00", b"\x01", b"\x02"], LLM),
    "chat_answer": ([b"\x00\x07", b"\x04\x07", b"\x02\x0a", b"\x06\x03", b"\x03\x01", b"\x08\x04", b"\x10\x05"], LLM),
    # What is before these depends on where they are from: see `spoken`.
    "answer": ([b""], []),
    "request": ([b""], []),
    "form": ([b"\x00\x07", b"\x01\x0a", b"\x02\x03"], ["src/llm/serve/form/*.rs", "tests/it/passed.rs"]),
    "rate_limits": ([b""], ["src/llm/rate_limits.rs", "src/llm/rate_limits/*.rs"]),
    "catalog": ([b""], ["src/llm/catalog/*.rs", "tests/it/catalog.rs"]),
    "template": ([b"\x00", b"\x11", b"\x22", b"\x33", b"\x04"], ["src/prompt/render/*.rs", "tests/it/prompts.rs"]),
    "prompt": ([b""], ["src/prompt/**/*.rs"]),
    "sealed": ([bytes([vendor | client << 4]) for vendor in range(3) for client in range(4)], ["src/llm/codec/envelope.rs", "src/llm/codec/gemini/proof.rs"]),
}
LITERAL = re.compile(r'b?r(#+)"(.*?)"\1|b?"((?:[^"\\]|\\.)*)"', re.S)
JSON = ("chat_request", "chat_answer", "answer", "request")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "'": "'"}


def unescaped(text):
    def one(found):
        kind = found[1]
        # Where a quote stands alone as a byte, what follows is no literal, and no escape either.
        if len(kind) == 1 and kind in "ux":
            return kind
        if kind[0] == "u":
            return chr(int(kind[2:-1], 16))
        if kind[0] == "x":
            return chr(int(kind[1:], 16))
        return "" if kind[0] == "\n" else ESCAPES.get(kind, kind)

    return re.sub(r"\\(u\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|\n\s*|.)", one, text, flags=re.S)


def literals(patterns):
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            source = re.sub(r"^\s*//[/!].*$", "", path.read_text(), flags=re.M)
            for found in LITERAL.finditer(source):
                text = found[2] if found[1] else unescaped(found[3])
                yield text
                # Texts of `format!` have their braces twice.
                if "{{" in text:
                    yield text.replace("{{", "{").replace("}}", "}")


def recorded(target):
    for path in sorted((SHARED / "wire").rglob("*.json")):
        exchange = json.loads(path.read_text())
        if "request" not in exchange:
            continue
        if target.endswith("request"):
            body = exchange["request"].get("body")
        else:
            answer = exchange["response"]
            body = answer.get("sse") or answer.get("body")
        if body is not None:
            yield body if isinstance(body, str) else json.dumps(body)


def corpus(target):
    """What the tests of the crate read: names and texts."""
    folder = ROOT / "tests/corpus" / target
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())] if folder.exists() else []


def frames():
    """Recorded streams of frames."""
    texts = []
    for path in sorted((SHARED / "wire").rglob("*.json")):
        answer = json.loads(path.read_text()).get("response", {})
        if answer.get("eventstream_base64"):
            texts.append(base64.b64decode(answer["eventstream_base64"]))
    return texts


def spoken(target):
    """The texts beside each codec, for that codec."""
    # Its number among the targets' protocols, and the paths where it is served.
    codecs = {"openai": (0, [4]), "responses": (1, [0, 11]), "anthropic": (2, [1, 10]), "gemini": (3, [2, 3, 7, 8, 9]), "bedrock": (4, []), "cohere": (5, [5, 6]), "ollama": (6, [])}
    dialects = {"chat": [4], "responses": [0, 11], "messages": [1, 10], "generate": [2, 3, 9], "embed": [7, 8], "rerank": [5, 6]}
    for name, text in corpus(target):
        owner, what = name.split(".", 1)
        if target == "request":
            yield from (bytes([path | to << 4]) + text for path in dialects[owner] for to in range(7))
        else:
            kinds = [0x30] if what.startswith("embed") else [0x38] if what.startswith("rerank") else [0, 0x20, 0x40, 0x80]
            yield from (bytes([codecs[owner][0] | kind, 0x03]) + text for kind in kinds)
    frames = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "!throttlingException")
    for name, (number, paths) in codecs.items():
        patterns = [f"src/llm/codec/{name}/**/*.rs", f"tests/it/{name}*.rs", f"tests/it/vendors/{name}*.rs", f"src/testing/{name}.rs"]
        for text in sorted(set(literals(patterns))):
            if not re.match(r"\s*[{\[]|.*\b(data|event):", text, re.S):
                continue
            text = text.encode("utf-8", "surrogatepass")
            if target == "request":
                yield from (bytes([path | ((number + 1 + place) % 7 << 4)]) + text for place, path in enumerate(paths))
                continue
            yield bytes([number | 0x20, 0x05]) + text
            if name == "bedrock":
                yield from (bytes([number, 0x03]) + kind.encode() + b" " + text.replace(b"\n", b" ") for kind in frames)
            else:
                yield bytes([number, 0x03]) + text
            if name in ("openai", "cohere"):
                yield bytes([number | 0x30, 0x05]) + text
                yield bytes([number | 0x38, 0x05]) + text


def rate_limits():
    """Headers as vendors name them, with each form of a number and of a reset."""
    names = [f"{start}ratelimit-{what}{of}" for start in ("x-", "") for what in ("limit", "remaining", "reset") for of in ("", "-requests", "-tokens", "-req-minute", "-tokens-day", "-tokens-prompt")]
    names += [f"anthropic-ratelimit-{of}-{what}" for of in ("requests", "tokens", "input-tokens") for what in ("limit", "remaining", "reset")]
    for value in ("0", "29987", "17.4s", "6m0s", "1h2m3s", "2ms", "2026-10-21T07:29:00.5Z", "2026-10-21T07:29:00+01:00", "1792567680000", "1e309"):
        yield "\n".join(f"{name}: {value}" for name in names).encode()


def vectors(target):
    folder = SHARED / "security" / "own"
    if target == "path" and (folder / "path_normalisation.json").exists():
        for vector in json.loads((folder / "path_normalisation.json").read_text()):
            yield vector["path"]
    if target in ("header", "forwarded") and (folder / "header_abuse.json").exists():
        for vector in json.loads((folder / "header_abuse.json").read_text()):
            form = "{}: {}" if target == "header" else "{1}"
            yield "\n".join(form.format(*pair) for pair in vector["headers"])
    if target == "sse" and (folder / "sse_injection.json").exists():
        for vector in json.loads((folder / "sse_injection.json").read_text()):
            yield vector["text"]


def main():
    target, folder, dictionary = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    prefixes, patterns = TARGETS[target]
    own = sorted(set(literals(patterns)))
    if target in JSON:
        own = [text for text in own if re.match(r"\s*[{\[]|.*\b(data|event):", text, re.S)]
    texts = own + sorted(set(vectors(target)))
    if target == "sse" or target in JSON:
        texts += sorted(set(recorded(target)))
    texts = [text.encode("utf-8", "surrogatepass") for text in texts]
    texts += [text for _, text in corpus(target)]
    if target == "event_stream":
        texts += frames()
    if target == "rate_limits":
        texts += rate_limits()
    if target in ("answer", "request"):
        texts = sorted(set(spoken(target)))
        own = list(literals(LLM))
    if target == "event_stream":
        own = list(literals(["src/llm/codec/bedrock/frame.rs", "src/llm/codec/bedrock/decode.rs"]))
    count = 0
    for text in texts:
        if not 1 < len(text) <= 16384:
            continue
        for prefix in prefixes if len(text) < 2048 else prefixes[:2]:
            seed = prefix + text
            (folder / hashlib.sha1(seed).hexdigest()[:16]).write_bytes(seed)
            count += 1
    words = {word for text in own for word in re.findall(r"[A-Za-z0-9_$-]{3,30}|%[0-9a-fA-F]{2}", text)}
    words |= {f'"{word}"' for word in words if word.islower()} if target in JSON or target in ("schema", "catalog") else set()
    with open(dictionary, "w") as out:
        for word in sorted(words):
            out.write('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"\n')
    print(f"{target}: {count} seeds, {len(words)} words")


main()
