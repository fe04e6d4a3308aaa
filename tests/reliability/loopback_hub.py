"""A hub of our own on the loopback: as much of the protocol as downloads of models and data need.

Repositories are dictionaries of files by revision. What the hub does wrong is set by the test: ask
for a token, or drop the connection in the middle of a file.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_loopback"
Files = dict[str, bytes]


@dataclass
class Repository:
    """Files by revision; ``main`` is always there."""

    revisions: dict[str, Files]
    gated: bool = False

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, or the commit itself, stands for."""
        for name, files in self.revisions.items():
            content = b"".join(n.encode() + d for n, d in sorted(files.items()))
            commit = hashlib.sha1(name.encode() + content).hexdigest()
            if revision in (name, commit):
                return commit
        return None

    def files(self, revision: str) -> Files:
        """The files of a revision that exists."""
        commit = self.commit(revision)
        return next(f for name, f in self.revisions.items() if self.commit(name) == commit)


@dataclass
class Hub:
    """What is served, and what was asked.

    Attributes:
        repositories: by ``models/ID`` or ``datasets/ID``.
        drops: file name -> after how many bytes its next downloads lose their connection.
        requested: method, path and range of every request.
    """

    repositories: dict[str, Repository]
    drops: dict[str, list[int]] = field(default_factory=dict)
    requested: list[tuple[str, str, str | None]] = field(default_factory=list)
    endpoint: str = ""

    def downloads(self, file: str) -> list[str | None]:
        """The ranges of the downloads of a file."""
        return [r for method, path, r in self.requested if method == "GET" and path.endswith(file)]


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port of the loopback, until the end of the block."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Refusal(Exception):
    """A status with the hub's error code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the tests look at `requested`."""
        del format, arguments

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length).decode() if length else ""
        path = unquote(urlsplit(self.path).path)
        self.hub.requested.append((self.command, path, self.headers.get("Range")))
        try:
            if path.startswith("/api/"):
                self._send(json.dumps(self._api(path.split("/")[2:], sent)).encode())
            elif "/resolve/" in path:
                self._file(path)
            else:
                self._send(b"a hub")
        except _Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self._send(b"{}", refusal.status, headers)

    def _send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _repository(self, kind: str, name: str) -> Repository:
        repository = self.hub.repositories.get(f"{kind}/{name}")
        if repository is None:
            raise _Refusal(404, "RepoNotFound", "Repository not found")
        return repository

    def _revision(self, repository: Repository, revision: str) -> tuple[str, Files]:
        commit = repository.commit(revision)
        if commit is None:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repository.files(revision)

    def _check_token(self, repository: Repository) -> None:
        if repository.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise _Refusal(401, "GatedRepo", "Access to this repository is restricted")

    def _api(self, parts: list[str], sent: str) -> Any:
        """``models/OWNER/NAME`` and what may follow."""
        if parts[0] not in ("models", "datasets") or len(parts) < 3:
            raise _Refusal(404, "EntryNotFound", "no such thing here")
        repository = self._repository(parts[0], "/".join(parts[1:3]))
        action, rest = (parts[3], parts[4:]) if len(parts) > 3 else ("revision", ["main"])
        if action == "refs":
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": repository.commit(name)}
                for name in repository.revisions
            ]
            return {"branches": branches, "tags": [], "converts": []}
        revision = next(
            ("/".join(rest[:n]) for n in (1, 3) if repository.commit("/".join(rest[:n]))), rest[0]
        )
        commit, files = self._revision(repository, revision)
        folder = "/".join(rest[1 + revision.count("/") :])
        if action == "revision":
            return {
                "id": "/".join(parts[1:3]),
                "sha": commit,
                "private": False,
                "gated": "manual" if repository.gated else False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": name} for name in files],
            }
        self._check_token(repository)
        if action == "paths-info":
            wanted = {path.strip("/") for path in _paths(sent)}
            return [entry for entry in _tree(files, "", True) if entry["path"] in wanted]
        if action == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0]
            return _tree(files, folder, recursive.lower() in ("true", "1"))
        raise _Refusal(404, "EntryNotFound", action)

    def _file(self, path: str) -> None:
        where, _, rest = path.strip("/").partition("/resolve/")
        kind, name = ("datasets", where[9:]) if where.startswith("datasets/") else ("models", where)
        repository = self._repository(kind, name)
        parts = rest.split("/")
        revision = next(
            ("/".join(parts[:n]) for n in (1, 3) if repository.commit("/".join(parts[:n]))),
            parts[0],
        )
        commit, files = self._revision(repository, revision)
        self._check_token(repository)
        file = "/".join(parts[1 + revision.count("/") :])
        if file not in files:
            raise _Refusal(404, "EntryNotFound", f"{file} does not exist")
        data, status = files[file], 200
        headers = {
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        if requested := self.headers.get("Range"):
            start = int(requested.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], 206
        if self.command == "GET" and self.hub.drops.get(file):
            self._drop(data, self.hub.drops[file].pop(0), status, headers)
        else:
            self._send(data, status, headers)

    def _drop(self, data: bytes, after: int, status: int, headers: dict[str, str]) -> None:
        """All the headers, some of the bytes, and the line is dead."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:after])
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)


def _paths(sent: str) -> list[str]:
    """The paths of a form or a JSON object."""
    if sent.startswith("{"):
        return json.loads(sent)["paths"]
    return parse_qs(sent).get("paths", [])


def _tree(files: Files, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """The entries of a folder: its files, and folders with nothing in them."""
    prefix = f"{folder}/" if folder else ""
    inside = [name for name in files if name.startswith(prefix)]
    if folder and not inside:
        raise _Refusal(404, "EntryNotFound", f"{folder} does not exist")
    entries: dict[str, dict[str, Any]] = {}
    for name in inside:
        parts = name[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            path = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                entries[path] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
        if recursive or len(parts) == 1:
            oid = hashlib.sha1(files[name]).hexdigest()
            entries[name] = {"type": "file", "oid": oid, "size": len(files[name]), "path": name}
    return list(entries.values())
