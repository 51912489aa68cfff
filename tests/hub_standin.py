"""A model hub on loopback: the part of the real one's HTTP interface that downloads need, and its ways of failing.

Serves whatever files a test hands over and writes down every request, so that a test can say what was asked for and what never
was. Large files answer with a redirect to another origin (`localhost` instead of `127.0.0.1`), as the real hub sends them to its
content network.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """One repository: its files by name, and what is wrong with it."""

    files: dict[str, bytes]
    refs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    status: int | None = None
    delay: float = 0.0
    cut: dict[str, int] = field(default_factory=dict)
    pulls: list[dict] = field(default_factory=list)

    def revision(self, name: str | None) -> dict[str, bytes] | None:
        """The files at a branch, tag or commit; None where there is no such revision."""
        if name in (None, "main"):
            return self.files
        known = [self.files, *self.refs.values()]
        return self.refs.get(name) or next((files for files in known if commit(files) == name), None)


def commit(files: dict[str, bytes]) -> str:
    """A commit hash that changes when any file does."""
    return hashlib.sha1(b"".join(name.encode() + digest(data).encode() for name, data in sorted(files.items()))).hexdigest()


def digest(data: bytes) -> str:
    """The name under which the hub stores a file."""
    return hashlib.sha256(data).hexdigest()


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class StandinHub:
    """The server; use as a context manager. `asked` holds (method, path) of every request, in order."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[tuple[str, str]] = []
        self.page: bytes | None = None  # answers everything with this, as a captive portal does
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def cdn(self) -> str:
        return f"http://localhost:{self._server.server_address[1]}"

    def add(self, repo_id: str, files: dict[str, bytes] | Path, **wrong) -> Repo:
        """Publish a folder or files under a name; `wrong` are the fields of `Repo`."""
        self.repos[repo_id] = Repo(files_of(files) if isinstance(files, Path) else files, **wrong)
        return self.repos[repo_id]

    def names_asked(self) -> set[str]:
        """The file names among the requests."""
        return {path.split("/resolve/", 1)[1].split("/", 1)[1] for _, path in self.asked if "/resolve/" in path}

    def blob(self, name: str) -> tuple[bytes, int | None] | None:
        """A file by its digest, and where it is cut off, if it is."""
        for repo in self.repos.values():
            for files in (repo.files, *repo.refs.values()):
                for path, data in files.items():
                    if digest(data) == name:
                        return data, repo.cut.get(path)
        return None

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: StandinHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append((self.command, path))
        if self.hub.page is not None:
            self._send(self.hub.page)
        elif path.startswith("cdn/"):
            found = self.hub.blob(path.removeprefix("cdn/"))
            self._send(*found) if found else self._refuse(404, "EntryNotFound")
        elif path.startswith("api/models/"):
            self._api(path.removeprefix("api/models/"))
        else:
            self._file(path)

    def _api(self, path: str) -> None:
        part = next((part for part in ("/revision/", "/tree/", "/discussions") if part in path), "/revision/")
        repo_id, _, rest = path.partition(part)
        repo = self._repo(repo_id)
        if repo is None:
            return
        files = repo.revision(rest or None)
        if files is None:
            self._refuse(404, "RevisionNotFound")
        elif part == "/revision/":
            self._json(_info(repo_id, repo, files))
        elif part == "/tree/":
            self._json([{"type": "file", "oid": digest(data), "size": len(data), "path": name} for name, data in files.items()])
        else:
            self._json(_pulls(repo_id, repo))

    def _repo(self, repo_id: str) -> Repo | None:
        repo = self.hub.repos.get(repo_id)
        if repo is None:
            self._refuse(401, "RepoNotFound")  # what the hub says to strangers, whether or not there is such a model
            return None
        time.sleep(repo.delay)
        if repo.status is not None:
            self._refuse(repo.status)
            return None
        return repo

    def _file(self, path: str) -> None:
        repo_id, found, rest = path.partition("/resolve/")
        repo = self._repo(repo_id) if found else self._refuse(404, "EntryNotFound")
        if repo is None:
            return
        if repo.gated:
            self._refuse(401, "GatedRepo")
            return
        revision, _, name = rest.partition("/")
        files = repo.revision(revision)
        if files is None:
            self._refuse(404, "RevisionNotFound")
        elif name not in files:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit(files)})
        else:
            self._found(name, files, repo)

    def _found(self, name: str, files: dict[str, bytes], repo: Repo) -> None:
        data = files[name]
        headers = {"X-Repo-Commit": commit(files), "ETag": f'"{digest(data)}"'}
        if name.endswith(".safetensors"):
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{digest(data)}"'}
            headers["Location"] = f"{self.hub.cdn}/cdn/{digest(data)}"
            self._head(302, headers, 0)
        else:
            self._send(data, repo.cut.get(name), headers)

    def _send(self, data: bytes, cut: int | None = None, headers: dict[str, str] | None = None) -> None:
        """A file, or the range asked for; one that is cut announces its full length and stops in the middle."""
        start = 0
        headers = dict(headers or {}, **{"Accept-Ranges": "bytes"})
        if (wanted := self.headers.get("Range", "")).startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._head(206 if start else 200, headers, len(data) - start)
        if self.command == "HEAD":
            return
        self.wfile.write(data[start:] if cut is None else data[start : max(start, cut)])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def _json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self._head(200, {"Content-Type": "application/json"}, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        self._head(status, {**(headers or {}), **({"X-Error-Code": code} if code else {})}, 0)

    def _head(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _info(repo_id: str, repo: Repo, files: dict[str, bytes]) -> dict:
    siblings = [{"rfilename": name, "size": len(data), "blobId": digest(data)} for name, data in files.items()]
    return {"id": repo_id, "sha": commit(files), "private": False, "gated": "manual" if repo.gated else False,
            "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip


def _pulls(repo_id: str, repo: Repo) -> dict:
    listed = [
        {"title": pull["title"], "num": pull["num"], "author": {"name": pull["author"]}, "status": "open",
         "createdAt": "2024-01-01T00:00:00.000Z", "isPullRequest": True, "repo": {"name": repo_id, "type": "model"}}
        for pull in repo.pulls
    ]  # fmt: skip
    return {"discussions": listed, "count": len(listed), "start": 0}
