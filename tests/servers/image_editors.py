"""A local server that edits pictures for money, as Google, OpenAI and Hugging Face do, and misbehaves as told.

It keeps the books: `billed` counts what it would charge for, replies that never arrived included.
"""

import base64
import gzip
import io
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

KEY = "sk-canary-0123456789"
GOOGLE_USAGE = {
    "promptTokenCount": 1300,
    "candidatesTokenCount": 1120,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    "thoughtsTokenCount": 100,
}
OPENAI_USAGE = {
    "input_tokens": 1200,
    "input_tokens_details": {"image_tokens": 1000, "text_tokens": 200},
    "output_tokens": 2000,
    "total_tokens": 3200,
}


def picture(size: tuple[int, int] = (64, 64), seed: int = 0, form: str = "PNG") -> bytes:
    """A file of blotches."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer := io.BytesIO(), form)
    return buffer.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Step:
    """What the server does with one request.

    Attributes:
        status: of the answer.
        body: a dictionary (JSON), or bytes as they are; None is an edited picture.
        headers: besides the usual ones.
        billed: whether it is charged for; None means with status 200.
        delay: seconds before the answer.
        cut: bytes after which the connection is closed; -1 for a whole answer.
        drip: seconds between the tenths of the answer.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    billed: bool | None = None
    delay: float = 0.0
    cut: int = -1
    drip: float = 0.0


def google_error(status: int, name: str, message: str, *details: Any, **more: Any) -> Step:
    content = {"error": {"code": status, "status": name, "message": message, "details": list(details)}}
    return Step(status, content, **more)


def google_reply(*parts: Any, reason: str | None = "STOP", **more: Any) -> Step:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    if reason:
        candidate["finishReason"] = reason
    return Step(body={"candidates": [candidate], "usageMetadata": GOOGLE_USAGE, "responseId": "r-1"} | more)


def inline(data: bytes, mime: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": encoded(data)}, **more}


def openai_error(status: int, code: str | None, message: str, param: str | None = None, **more: Any) -> Step:
    return Step(
        status, {"error": {"code": code, "message": message, "param": param, "type": "error"}}, **more
    )


class EditorServer:
    """Answers each request for a picture with the next step of its script; the last one repeats.

    A step may be a function of the request, which is a dictionary with `path`, `headers`, `prompt`, `picture` and
    `body`. `edit` makes the picture where a step has none.
    """

    def __init__(self, *script: Step | Callable[[dict[str, Any]], Step]) -> None:
        self.script: list[Any] = list(script) or [Step()]
        self.requests: list[dict[str, Any]] = []
        self.billed = 0
        self.models: dict[str, Step] = {}
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.edit: Callable[[bytes], bytes] = lambda data: data
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.handle(self)

            do_GET = do_POST

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> "EditorServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def asked(self) -> list[dict[str, Any]]:
        """Requests for a picture, one by one."""
        return [request for request in self.requests if request["picture"] is not None]

    def handle(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        request = self._read(http.path, http.headers, body) | {"connection": http.client_address}
        with self.lock:
            self.requests.append(request)
            step = self._step(request, http.command)
        if callable(step):
            step = step(request)
        self._answer(http, request, step)

    def _read(self, path: str, headers: Any, body: bytes) -> dict[str, Any]:
        request = {"path": path, "headers": dict(headers), "body": body, "prompt": "", "picture": None}
        kind = headers.get("Content-Type") or ""
        if path.split("?")[0].endswith(":generateContent"):
            request |= read_google(json.loads(body))
        elif kind.startswith("multipart/form-data") and path.endswith("/images/edits"):
            request |= _read_form(kind, body)
        elif (
            kind.startswith("application/json")
            and "/models/" in path
            and "inputs" in json.loads(body or b"{}")
        ):
            content = json.loads(body)
            inputs = content["inputs"]
            request |= {
                "content": content,
                "prompt": content.get("parameters", {}).get("prompt", ""),
                "picture": base64.b64decode(inputs),
            }
        return request

    def _step(self, request: dict[str, Any], method: str) -> Any:
        if request["picture"] is not None:
            return self.script[0] if len(self.script) == 1 else self.script.pop(0)
        if method == "GET" and re.search(r"/models/[^/]+$", request["path"]):
            name = request["path"].rpartition("/")[2]
            return self.models.get(name, Step(body={"name": f"models/{name}", "id": name, "object": "model"}))
        return self.other(request, method)

    def other(self, request: dict[str, Any], method: str) -> Step:
        """Anything else, such as files and batches."""
        return Step(404, {"error": {"message": f"nothing at {request['path']}"}})

    def _answer(self, http: BaseHTTPRequestHandler, request: dict[str, Any], step: Step) -> None:
        is_picture = request["picture"] is not None
        if is_picture and (step.billed if step.billed is not None else step.status == 200):
            with self.lock:
                self.billed += 1
        time.sleep(step.delay)
        content = step.body if step.body is not None else self._edited(request)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if step.headers.get("Content-Encoding") == "gzip":
            data = gzip.compress(data)[:-20]
        try:
            http.send_response(step.status)
            headers = {"Content-Type": "application/json", "x-request-id": f"req-{len(self.requests)}"}
            for name, value in (headers | step.headers).items():
                http.send_header(name, value)
            http.send_header("Content-Length", str(len(data)))
            http.end_headers()
            sent = data if step.cut < 0 else data[: step.cut]
            part = -(-len(sent) // 10) if step.drip else len(sent)
            for begin in range(0, len(sent), max(1, part)):
                http.wfile.write(sent[begin : begin + part])
                time.sleep(step.drip)
            if step.cut >= 0:
                http.close_connection = True
        except OSError:  # the client has given up waiting
            http.close_connection = True

    def _edited(self, request: dict[str, Any]) -> Any:
        data = self.edit(request["picture"])
        if "generateContent" in request["path"]:
            return google_reply(inline(data)).body
        if request["path"].endswith("/images/edits"):
            return {"created": 0, "data": [{"b64_json": encoded(data)}], "usage": OPENAI_USAGE}
        return data


def read_google(content: dict[str, Any]) -> dict[str, Any]:
    """Prompt and picture of a request, whatever the case of its keys."""
    parts = [part for one in content["contents"] for part in one["parts"]]
    blobs = [part.get("inlineData") or part.get("inline_data") for part in parts]
    data = next(base64.urlsafe_b64decode(one["data"].translate(_URL_SAFE)) for one in blobs if one)
    prompt = " ".join(part["text"] for part in parts if "text" in part)
    return {"content": content, "prompt": prompt, "picture": data}


_URL_SAFE = str.maketrans("+/", "-_")


def _read_form(kind: str, body: bytes) -> dict[str, Any]:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    form = {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in message.iter_parts()
    }
    told = {name: value.decode() for name, value in form.items() if name != "image"}
    return {"content": told, "prompt": told["prompt"], "picture": form["image"]}


class BatchServer(EditorServer):
    """Also takes batches, as Google and OpenAI do; `work()` does what is there, by the script, line by line.

    `lost` swallows the answer to so many requests that make a batch, after it was made; `down` answers 503 to
    everything, and `refuses` with that status to the next request that makes a batch. After `cut` bytes the next
    download ends. `says` is the answer to questions after batches.
    """

    def __init__(self, *script: Step) -> None:
        super().__init__(*script)
        self.lost, self.down, self.refuses, self.cut = 0, False, 0, -1
        self.says: Step | None = None

    def work(self, state: str = "SUCCEEDED", leave_out: int = 0) -> None:
        """Do all batches; `leave_out` lines of each are not done."""
        for batch in self.batches.values():
            if batch["done"]:
                continue
            lines = [json.loads(line) for line in self.files[batch["input"]].splitlines()]
            batch["lines"] = lines
            results = [self._line(line) for line in lines[: len(lines) - leave_out]]
            batch["output"] = self._store("\n".join(map(json.dumps, results)).encode())
            batch |= {"done": True, "state": state}

    def spoil(self, change: Callable[[bytes], bytes]) -> None:
        """Change the files with what came of batches."""
        for batch in self.batches.values():
            name = batch["output"]
            self.files[name] = self.files[name[6:]] = change(self.files[name])

    def _line(self, line: dict[str, Any]) -> dict[str, Any]:
        step = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        is_google = "key" in line
        if is_google:
            asked = read_google(line["request"])
        else:
            asked = {
                "picture": self.files[line["body"]["images"][0]["file_id"]],
                "prompt": line["body"]["prompt"],
            }
        path = "generateContent" if is_google else "/images/edits"
        body = step.body if step.body is not None else self._edited({"path": path, **asked})
        if step.status == 200:
            self.billed += 1
        if is_google:
            failed = {"error": {"code": step.status, "message": "failed"}}
            return {"key": line["key"], **({"response": body} if step.status == 200 else failed)}
        response = {"status_code": step.status, "request_id": "line", "body": body}
        return {"custom_id": line["custom_id"], "response": response, "error": None}

    def _store(self, data: bytes) -> str:
        name = f"files/f{len(self.files)}"
        self.files[name] = self.files[name[6:]] = data
        return name

    def other(self, request: dict[str, Any], method: str) -> Step:
        path = request["path"].partition("?")[0]
        if self.down:
            return Step(503, {"error": {"message": "down"}})
        if path.startswith("/upload"):
            return self._upload(request)
        if path.endswith(":batchGenerateContent"):
            told = json.loads(request["body"])["batch"]
            told = {"display": told["displayName"], "input": told["inputConfig"]["fileName"]}
            return self._made(f"batches/b{len(self.batches)}", told)
        if path.endswith("/files") and method == "POST":
            kind = request["headers"]["Content-Type"]
            data = _parts(kind, request["body"])["file"]
            return Step(body={"id": self._store(data)[6:], "object": "file", "bytes": len(data)})
        if path.endswith("/v1/batches") and method == "POST":
            told = json.loads(request["body"])
            told = {"display": told["metadata"], "input": told["input_file_id"], "endpoint": told["endpoint"]}
            return self._made(f"b{len(self.batches)}", told)
        if self.says is not None and "/batches" in path:
            return self.says
        if path.endswith("/batches"):
            listed = [self._told(name) for name in self.batches]
            key = (
                "operations"
                if "key" in str(request["headers"]).lower() and "x-goog" in str(request["headers"]).lower()
                else "data"
            )
            return Step(body={key: listed, "object": "list", "has_more": False})
        if "/batches/" in path:
            name = path[path.index("batches/") :]
            return Step(body=self._told(name if name in self.batches else name[8:]))
        if path.endswith((":download", "/content")):
            name = re.search(r"files/([^/:]+)", path)[1]
            cut, self.cut = self.cut, -1
            return Step(body=self.files[name], headers={"Content-Type": "application/octet-stream"}, cut=cut)
        return super().other(request, method)

    def _upload(self, request: dict[str, Any]) -> Step:
        headers = {name.lower(): value for name, value in request["headers"].items()}
        if "start" in headers["x-goog-upload-command"]:
            return Step(body={}, headers={"X-Goog-Upload-URL": f"{self.root}/upload/there"})
        name = self._store(request["body"])
        return Step(body={"file": {"name": name}}, headers={"X-Goog-Upload-Status": "final"})

    def _made(self, name: str, told: dict[str, Any]) -> Step:
        if self.refuses:
            status, self.refuses = self.refuses, 0
            return Step(status, {"error": {"message": "no batch", "code": status}})
        self.batches[name] = told | {"done": False, "state": "PENDING", "output": None}
        if self.lost:
            self.lost -= 1
            return Step(body=b"{}", cut=0)
        return Step(body=self._told(name))

    def _told(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        if name.startswith("batches/"):
            metadata = {"displayName": batch["display"], "state": f"BATCH_STATE_{batch['state']}"}
            metadata["batchStats"] = {"successfulRequestCount": str(batch.get("completed", 0))}
            told: dict[str, Any] = {"name": name, "metadata": metadata, "done": batch["done"]}
            return told | ({"response": {"responsesFile": batch["output"]}} if batch["output"] else {})
        names = {"SUCCEEDED": "completed", "EXPIRED": "expired", "FAILED": "failed"}
        state = names.get(batch["state"], "in_progress")
        return {
            "id": name, "object": "batch", "status": state, "metadata": batch["display"],
            "endpoint": batch["endpoint"],
            "output_file_id": batch["output"] and batch["output"][6:], "input_file_id": batch["input"],
            "completion_window": "24h", "created_at": 0,
            "request_counts": {"completed": batch.get("completed", 0), "failed": 0, "total": 6},
        }  # fmt: skip


def _parts(kind: str, body: bytes) -> dict[str, bytes]:
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in message.iter_parts()
    }
