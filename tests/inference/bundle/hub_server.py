"""A stand-in of the Hugging Face hub: a server that knows the requests of uploads and downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_secretTokenOfTheTest"
# huggingface_hub uploads in a way that the package below it will not know for ever.
UPLOADS = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@dataclass
class Repository:
    """A repository with one branch, ``main``."""

    files: dict[str, bytes] = field(default_factory=dict)
    visibility: str = "public"
    gated: bool = False
    commits: int = 0

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files)).encode()).hexdigest()


@dataclass
class Hub:
    """What the server holds, and what it was asked."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cards: list[str] = field(default_factory=list)
    refuses_writing: bool = False
    breaks: bool = False

    def downloads(self) -> int:
        return sum(request.startswith("GET") and "/resolve/" in request for request in self.requests)


@contextmanager
def running() -> Iterator[Hub]:
    """A hub on this machine."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._resolve()

    def do_GET(self) -> None:
        if self.path.startswith("/api/whoami"):
            self._json({"name": "tester", "type": "user"} if self._known() else None, 200 if self._known() else 401)
        else:
            self._resolve()

    def do_PUT(self) -> None:
        self._note()
        content = self._body()
        self.hub.stored[hashlib.sha256(content).hexdigest()] = content
        self._json({})

    def do_POST(self) -> None:
        self._note()
        body = self._body()
        parts = urlsplit(self.path).path.strip("/").split("/")
        if self.path == "/api/validate-yaml":
            self.hub.cards.append(json.loads(body)["content"])
            self._json({"errors": [], "warnings": []})
        elif not self._known() or self.hub.refuses_writing:
            self._error(403, "Forbidden")
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif parts[-2] == "preupload":
            files = [{"path": entry["path"], "uploadMode": _mode(entry["path"]), "shouldIgnore": False, "oid": None}
                     for entry in json.loads(body)["files"]]  # fmt: skip
            self._json({"files": files})
        elif parts[-1] == "batch":
            objects = [
                {**entry, "actions": {"upload": {"href": f"{self.hub.url}/storage/{entry['oid']}"}}}
                for entry in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        else:
            self._commit("/".join(parts[2:4]), body)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        there = name in self.hub.repositories
        visibility = wanted.get("visibility") or ("private" if wanted.get("private") else "public")
        self.hub.repositories.setdefault(name, Repository(visibility=visibility))
        self._json({"url": f"{self.hub.url}/{name}", "name": name}, 409 if there else 200)

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.hub.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.stored[value["oid"]]
        repository.commits += 1
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/1", "commitOid": repository.commit})

    def _resolve(self) -> None:
        """A file of a repository, ``/organisation/name/resolve/revision/path``."""
        self._note()
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        repository = self.hub.repositories.get("/".join(parts[:2]))
        if self.hub.breaks:
            self._error(500, "InternalError")
        elif repository is None or (repository.visibility == "private" and not self._known()):
            self._error(404, "RepoNotFound")
        elif repository.gated:
            self._error(403, "GatedRepo")
        elif parts[3] not in ("main", "v1", repository.commit):
            self._error(404, "RevisionNotFound")
        elif (content := repository.files.get("/".join(parts[4:]))) is None:
            self._error(404, "EntryNotFound", {"X-Repo-Commit": repository.commit})
        else:
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit})

    def _note(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        # A hub that repeats the token in its answer is no reason to print it.
        message = f"refused for {self.headers.get('Authorization')}"
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _mode(path: str) -> str:
    return "regular" if path.endswith(".md") else "lfs"
