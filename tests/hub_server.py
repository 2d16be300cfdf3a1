"""A dataset hub on this machine: what the stock Hugging Face client asks for, served from a folder over HTTP.

`HubServer(folder)` serves `folder/<owner>/<name>/**` as the dataset `<owner>/<name>`, each at one commit.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    def __init__(self, folder: Path, commit: str | Mapping[str, str] = COMMIT) -> None:
        """Get ready to serve a folder. commit: of every dataset, or of some by name and `COMMIT` of the others."""
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"folder": folder, "commit": commit, "log": self.requests})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    commit: str | Mapping[str, str]
    log: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = unquote(urlsplit(self.path).path)
        self.log.append(f"{self.command} {path}")
        match path.strip("/").split("/"):
            case [""]:
                self._send(200, b"a dataset hub")
            case ["api", "datasets", owner, name, *rest] if (self.folder / owner / name).is_dir():
                self._describe(f"{owner}/{name}", rest, body)
            case ["datasets", owner, name, "resolve", revision, *file]:
                self._resolve(f"{owner}/{name}", revision, "/".join(file))
            case _:
                self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _describe(self, name: str, rest: list[str], body: str) -> None:
        repository, commit = self.folder / name, self._commit_of(name)
        files = sorted(path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file())
        match rest:
            case [] | ["revision", _] if not rest or rest[1] in ("main", commit):
                siblings = [{"rfilename": file} for file in files]
                tree: object = {"id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings}
            case ["paths-info", revision] if revision in ("main", commit):
                wanted = parse_qs(body).get("paths", []) if not body.startswith("{") else json.loads(body)["paths"]
                tree = [_entry(repository / path, path) for path in wanted if (repository / path).exists()]
            case ["tree", revision, *folder] if revision in ("main", commit) and repository.joinpath(*folder).is_dir():
                inside = repository.joinpath(*folder)
                recursive = "recursive=true" in self.path.lower()
                found = sorted(inside.rglob("*") if recursive else inside.iterdir())
                tree = [_entry(path, path.relative_to(repository).as_posix()) for path in found]
            case ["tree", revision, *_] if revision in ("main", commit):
                return self._send(404, b'{"error": "Entry not found"}', {"X-Error-Code": "EntryNotFound"})
            case _:
                return self._send(404, b'{"error": "Revision not found"}', {"X-Error-Code": "RevisionNotFound"})
        return self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repository, commit = self.folder / name, self._commit_of(name)
        if not repository.is_dir() or revision not in ("main", commit) or not (repository / file).is_file():
            code = "EntryNotFound" if repository.is_dir() else "RepoNotFound"
            return self._send(404, b"", {"X-Error-Code": code, "X-Repo-Commit": commit})
        content = (repository / file).read_bytes()
        headers = {"ETag": f'"{_git_hash(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes="):
            return self._send(200, content, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(content) - 1), len(content) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self._send(206, content[start:stop], headers)

    def _commit_of(self, name: str) -> str:
        return self.commit if isinstance(self.commit, str) else self.commit.get(name, COMMIT)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entry(path: Path, name: str) -> dict[str, object]:
    if path.is_dir():
        return {"type": "directory", "oid": _git_hash(name.encode()), "size": 0, "path": name}
    return {"type": "file", "oid": _git_hash(path.read_bytes()), "size": path.stat().st_size, "path": name}


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
