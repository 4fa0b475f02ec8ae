"""An upstream to proxy to: it says what it got, and does what proxies find hard.

    python upstream.py PORT
"""

import hashlib
import http.server
import json
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        path = self.path.partition("?")[0]
        if path.startswith("/status/"):
            return self.status(int(path.rpartition("/")[2]))
        if path == "/slow":
            return self.slow()
        if path == "/cut":
            return self.cut()
        if path == "/close":
            self.close_connection = True
            return None
        return self.echo()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

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

    def echo(self):
        got = self.body()
        text = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "length": len(got),
                "sha256": hashlib.sha256(got).hexdigest(),
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.send_header("x-kept", "kept")
        self.send_header("set-cookie", "one=1")
        self.send_header("set-cookie", "two=2")
        # Named in `connection`, so of this hop only.
        self.send_header("x-of-the-hop", "secret")
        self.send_header("connection", "keep-alive, x-of-the-hop")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def status(self, status):
        self.body()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("location", "http://127.0.0.1:9/elsewhere")
        if status not in (204, 304):
            self.send_header("content-length", "0")
        self.end_headers()

    def slow(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(5):
            piece = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def cut(self):
        self.send_response(200)
        self.send_header("content-length", "100")
        self.end_headers()
        self.wfile.write(b"ten bytes.")
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
