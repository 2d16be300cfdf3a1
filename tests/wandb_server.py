"""A W&B server on this machine: as much of its protocol as `wandb sweep`, `wandb agent`, runs and `wandb sync` use.

`server.runs` is what it was told, run by run; a sweep is walked as a grid, whatever its method.
"""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from typing import Any

import yaml

KEY = "0123456789" * 4
ENTITY = "somebody"


@dataclass
class ServedRun:
    """What the server was told of one run. history: rows by their line's number."""

    name: str
    group: str | None = None
    job_type: str | None = None
    project: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    ended: bool = False
    said: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.history[line] for line in sorted(self.history)]


class WandbServer:
    """Serves from `__enter__` to `__exit__`; `environment` points the W&B client at it."""

    def __init__(self, *, refuses_runs: bool = False) -> None:
        self.refuses_runs = refuses_runs
        self.runs: dict[str, ServedRun] = {}
        self.views: list[dict[str, Any]] = []
        self.sweep: str | None = None
        self.unknown: list[str] = []
        self._waiting: list[dict[str, Any]] = []
        handler = type("Handler", (_Handler,), {"served": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {"WANDB_BASE_URL": self.address, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of one GraphQL request."""
        words = query.replace("(", " ").replace("{", " ").split()
        name = words[1] if len(words) > 1 else ""
        answer = getattr(self, f"_on_{name}", None)
        if answer is None:
            self.unknown.append(name)
            return {}
        return dict(answer(given))

    def _on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        person = {"id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "name": ENTITY, "flags": "{}"}
        return {"viewer": {**person, "admin": False, "apiKeys": {"edges": []}, "teams": {"edges": []}}}

    _on_GetDefaultEntity = _on_Viewer

    def _on_UpsertSweep(self, given: dict[str, Any]) -> dict[str, Any]:
        self.sweep = given["config"]
        asked = yaml.safe_load(given["config"])
        values = {key: entry.get("values", [entry.get("value")]) for key, entry in asked["parameters"].items()}
        for number, chosen in enumerate(product(*values.values())):
            arguments = {key: {"value": value} for key, value in zip(values, chosen, strict=True)}
            command = {
                "type": "run",
                "run_id": f"agent{number:03d}",
                "program": asked.get("program"),
                "args": arguments,
            }
            self._waiting.append(command)
        return {"upsertSweep": {"sweep": {"name": "sweep001", "project": _project(given)},
                                "configValidationWarnings": []}}  # fmt: skip

    def _on_SweepWithRuns(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"sweep": {"id": "1", "name": "sweep001", "config": self.sweep, "runs": {"edges": []}}}}

    def _on_CreateAgent(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def _on_Heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        busy = json.loads(given["runState"])
        commands = [self._waiting.pop(0)] if self._waiting and not busy else []
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}

    def _on_UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, ServedRun(name))
        run.group, run.job_type = given.get("groupName") or run.group, given.get("jobType") or run.job_type
        run.project, run.sweep = given.get("project") or run.project, given.get("sweep") or run.sweep
        run.tags = given.get("tags") or run.tags
        run.config |= {key: entry.get("value") for key, entry in json.loads(given.get("config") or "{}").items()}
        run.said += json.dumps(given)
        bucket = {"id": name, "name": name, "displayName": given.get("displayName"), "sweepName": run.sweep,
                  "project": _project(given), "historyLineCount": len(run.history), "config": "{}"}  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _on_RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        if run is None:
            return {"model": {**_project(given), "bucket": None}}
        bucket = {
            "name": run.name, "summaryMetrics": json.dumps(run.summary), "displayName": run.name, "logLineCount": 0,
            "historyLineCount": len(run.history), "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]), "eventsTail": "[]",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "tags": run.tags, "wandbConfig": '{"t": 1}',
        }  # fmt: skip
        return {"model": {**_project(given), "bucket": bucket}}

    def _on_CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def _on_UpsertView2(self, given: dict[str, Any]) -> dict[str, Any]:
        self.views.append(given)
        return {"upsertView": {"view": {"id": "view", "name": given["name"]}, "inserted": True}}

    def streamed(self, name: str, content: dict[str, Any], raw: str) -> None:
        """What a run's file stream brings."""
        run = self.runs.setdefault(name, ServedRun(name))
        run.said += raw
        for file, part in (content.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                run.history |= dict(enumerate(map(json.loads, part["content"]), start=part["offset"]))
            elif file == "wandb-summary.json":
                run.summary |= json.loads(part["content"][-1])
        run.ended |= bool(content.get("complete"))


def _project(given: dict[str, Any]) -> dict[str, Any]:
    name = given.get("project") or given.get("projectName")
    return {"id": "1", "name": name, "entity": {"id": "1", "name": ENTITY}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: WandbServer

    def handle(self) -> None:
        with suppress(ConnectionResetError):  # the client has left without a word
            super().handle()

    def do_GET(self) -> None:
        self._send({})

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            if self.served.refuses_runs and "RunResumeStatus" in asked["query"]:
                self._send({"errors": [{"message": "closed today"}]}, status=400)
                return
            self._send({"data": self.served.answer(asked["query"], asked.get("variables") or {})})
        else:
            if self.path.endswith("/file_stream"):
                self.served.streamed(self.path.split("/")[-2], json.loads(body), body.decode())
            self._send({})

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, content: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
