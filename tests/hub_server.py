"""A dataset hub on this machine: what the stock Hugging Face client asks for, served from a folder over HTTP.

`HubServer(folder)` serves `folder/<owner>/<name>/**` as the dataset `<owner>/<name>`, each at one commit, and beside it
`folder/<owner>/<name>.export/**` as its branch `refs/convert/parquet`, where there is one.
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
EXPORT = "refs/convert/parquet"
EXPORT_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


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
        path = urlsplit(self.path).path
        self.log.append(f"{self.command} {unquote(path)}")
        match [unquote(part) for part in path.strip("/").split("/")]:
            case [""]:
                self._send(200, b"a dataset hub")
            case ["api", "datasets", owner, name, *rest] if (self.folder / owner / name).is_dir():
                self._describe(f"{owner}/{name}", rest, body)
            case ["datasets", owner, name, "resolve", revision, *file]:
                self._resolve(f"{owner}/{name}", revision, "/".join(file))
            case _:
                self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _describe(self, name: str, rest: list[str], body: str) -> None:
        tree, commit = self._tree(name, rest[1] if rest else "main")
        if tree is None:
            return self._send(404, b'{"error": "Revision not found"}', {"X-Error-Code": "RevisionNotFound"})
        match rest:
            case [] | ["revision", _]:
                files = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
                siblings = [{"rfilename": file} for file in files]
                answer: object = {"id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings}
            case ["paths-info", _]:
                wanted = parse_qs(body).get("paths", []) if not body.startswith("{") else json.loads(body)["paths"]
                answer = [_entry(tree / path, path) for path in wanted if (tree / path).exists()]
            case ["tree", _, *folder] if tree.joinpath(*folder).is_dir():
                inside = tree.joinpath(*folder)
                recursive = "recursive=true" in self.path.lower()
                found = sorted(inside.rglob("*") if recursive else inside.iterdir())
                answer = [_entry(path, path.relative_to(tree).as_posix()) for path in found]
            case _:
                return self._send(404, b'{"error": "Entry not found"}', {"X-Error-Code": "EntryNotFound"})
        return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        tree, commit = self._tree(name, revision)
        if tree is None or not (tree / file).is_file():
            code = "EntryNotFound" if (self.folder / name).is_dir() else "RepoNotFound"
            return self._send(404, b"", {"X-Error-Code": code, "X-Repo-Commit": commit})
        content = (tree / file).read_bytes()
        headers = {"ETag": f'"{_git_hash(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes="):
            return self._send(200, content, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(content) - 1), len(content) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self._send(206, content[start:stop], headers)

    def _tree(self, name: str, revision: str) -> tuple[Path | None, str]:
        """The files of a dataset at a revision, and the commit."""
        commit = self._commit_of(name)
        if revision in (EXPORT, EXPORT_COMMIT):
            tree, commit = self.folder / f"{name}.export", EXPORT_COMMIT
        else:
            tree = self.folder / name
        known = revision in ("main", commit, EXPORT) and tree.is_dir()
        return tree if known else None, commit

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
