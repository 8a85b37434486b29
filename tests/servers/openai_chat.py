"""A local server that speaks OpenAI's chat protocol and misbehaves as it is told."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class ChatServer:
    """Answers each request with the next step of its script; the last step repeats.

    A step is a reply's text, an int (an HTTP error), ("429", seconds to ask for), ("sleep", seconds) before
    answering "退化分数：3", "disconnect", a dict that changes the usual reply, bytes in its place, or a function
    that makes a step of what was asked.
    """

    def __init__(self, *script):
        self.script, self.requests, self.headers, self.times = list(script), [], [], []
        self.models = {}  # what is said of a model: a status and a body
        self.at_once, self.most_at_once = 0, 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = unquote(self.path.rpartition("/models/")[2])
                server._send(self, *server.models.get(name, (200, {"id": name, "object": "model"})))

            def do_POST(self):
                server.handle(self)

            def log_message(self, *arguments):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._http.shutdown()
        self._http.server_close()

    def handle(self, http):
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        with self._lock:
            step = self.script[0] if len(self.script) == 1 else self.script.pop(0)
            self.requests.append(body)
            self.headers.append(http.headers)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self._answer(http, step(body) if callable(step) else step)
        finally:
            with self._lock:
                self.at_once -= 1

    def _answer(self, http, step):
        if step == "disconnect":
            http.connection.close()
        elif isinstance(step, int):
            echoed = http.headers["Authorization"]
            self._send(http, step, {"error": {"message": f"failed for {echoed}", "type": "error"}})
        elif isinstance(step, tuple) and step[0] == "429":
            self._send(http, 429, {"error": {"message": "slow down"}}, {"Retry-After": str(step[1])})
        elif isinstance(step, tuple) and step[0] == "redirect":
            self._send(http, 307, {}, {"Location": f"{step[1]}/chat/completions"})
        elif isinstance(step, tuple):
            time.sleep(step[1])
            self._send(http, 200, self._completion("退化分数：3"))
        elif isinstance(step, dict) and "error" in step:
            self._send(http, 400, step)
        elif isinstance(step, dict):
            self._send(http, 200, self._completion("退化分数：4") | step)
        elif isinstance(step, bytes):
            self._send(http, 200, step)
        else:
            self._send(http, 200, self._completion(step))

    def _completion(self, text):
        message = {"role": "assistant", "content": text}
        return {
            "id": "x", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010},
        }  # fmt: skip

    def _send(self, http, status, content, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            http.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **(headers or {}),
            }.items():
                http.send_header(name, value)
            http.end_headers()
            http.wfile.write(data)
        except OSError:  # the client has given up waiting
            pass
