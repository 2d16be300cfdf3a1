"""A web server on this machine that serves one file, whole or in ranges, and breaks off where it is told to."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass
class Behaviour:
    """content: the file;  breaks: bytes sent by each of the next requests before the connection is cut;
    status: instead of the file;  hold: waited for before the second half is sent."""

    content: bytes
    breaks: list[int] = field(default_factory=list)
    status: int | None = None
    hold: threading.Event | None = None

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha1(self.content).hexdigest()}"'


class FileServer:
    def __init__(self, content: bytes) -> None:
        self.behaviour = Behaviour(content)
        self.requests: list[tuple[str, str | None]] = []  # method and Range of each
        self.halfway = threading.Event()
        handler = type("Handler", (_Handler,), {"server_of_test": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/data/vectors.txt"

    @property
    def ranges(self) -> list[str | None]:
        """The Range of every GET."""
        return [wanted for method, wanted in self.requests if method == "GET"]

    def __enter__(self) -> FileServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.behaviour.hold is not None:
            self.behaviour.hold.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.server_of_test.requests.append(("HEAD", None))
        self._head(200, {"Content-Length": "0"})

    def do_GET(self) -> None:
        told = self.server_of_test.behaviour
        wanted = self.headers.get("Range")
        self.server_of_test.requests.append(("GET", wanted))
        if told.status is not None:
            return self._head(told.status, {"Content-Length": "0"})
        if wanted is None or self.headers.get("If-Range", told.tag) != told.tag:
            self._head(200, {"Content-Length": str(len(told.content)), "ETag": told.tag})
            return self._send(told.content)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(told.content):
            return self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(told.content)}"})
        rest = told.content[start:]
        whole = f"bytes {start}-{len(told.content) - 1}/{len(told.content)}"
        self._head(206, {"Content-Length": str(len(rest)), "Content-Range": whole, "ETag": told.tag})
        return self._send(rest)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, content: bytes) -> None:
        told = self.server_of_test.behaviour
        if told.breaks:
            self.wfile.write(content[: told.breaks.pop(0)])
            self.close_connection = True
            return
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        self.server_of_test.halfway.set()
        if told.hold is not None:
            told.hold.wait(60)
        self.wfile.write(content[half:])
