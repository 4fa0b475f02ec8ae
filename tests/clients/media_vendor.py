"""A vendor that moderates, paints, speaks and listens: as little as the clients need, and what it was sent.

    python media_vendor.py PORT
"""

import base64
import email.parser
import email.policy
import hashlib
import http.server
import json
import os
import sys

KEY = os.environ["VENDOR_KEY"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        out = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return out

    def answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, value, status=200):
        self.answer(status, "application/json", json.dumps(value).encode())

    def stream(self, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            text = f"data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.write(b"0\r\n\r\n")

    def fields(self, body):
        """The fields of a form: names and bytes."""
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        parts = parser.parsebytes(head + body).iter_parts()
        return {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in parts
        }

    def do_GET(self):
        models = [{"id": id, "object": "model", "owned_by": "media"} for id in ("ears", "mouth", "brush")]
        self.json({"object": "list", "data": models})

    def do_POST(self):
        body = self.body()
        if self.headers.get("authorization") != f"Bearer {KEY}":
            return self.json({"error": {"message": "Incorrect API key provided"}}, 401)
        if self.headers["content-type"].startswith("multipart/form-data"):
            asked = self.fields(body)
        else:
            asked = json.loads(body)
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        match self.path:
            case "/v1/moderations":
                scores = {"violence": 0.9 if "kill" in str(asked["input"]) else 0.1}
                result = {
                    "flagged": scores["violence"] > 0.5,
                    "categories": {"violence": scores["violence"] > 0.5},
                    "category_scores": scores,
                    "category_applied_input_types": {"violence": ["text"]},
                }
                self.json({"id": "modr-1", "model": asked["model"], "results": [result]})
            case "/v1/images/generations":
                picture = base64.b64encode(asked["prompt"].encode()).decode()
                self.json({"created": 1, "data": [{"b64_json": picture}], "usage": usage})
            case "/v1/images/edits":
                picture = base64.b64encode(hashlib.sha256(asked["image"]).digest()).decode()
                self.json({"created": 1, "data": [{"b64_json": picture}], "usage": usage})
            case "/v1/audio/speech":
                self.answer(200, "audio/mpeg", b"ID3" + asked["input"].encode() * 1000)
            case "/v1/audio/transcriptions":
                said = hashlib.sha256(asked["file"]).hexdigest()
                if asked.get("response_format") == b"text":
                    self.answer(200, "text/plain; charset=utf-8", said.encode())
                elif asked.get("stream") == b"true":
                    delta = {"type": "transcript.text.delta", "delta": said}
                    done = {"type": "transcript.text.done", "text": said, "usage": {"type": "tokens", **usage}}
                    self.stream([delta, done])
                else:
                    model = asked["model"].decode()
                    self.json({"text": said, "heard_by": model, "usage": {"type": "tokens", **usage}})
            case path:
                self.json({"error": {"message": f"Unknown path {path}"}}, 404)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
