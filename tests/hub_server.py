"""A stand-in for the Hugging Face hub: one repository, served over HTTP on loopback as the hub serves it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["StandInHub", "stand_in_hub"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_letmein"


class StandInHub:
    """What is served and what was asked: `requests` are (method, path) in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str]] = []
        self.url = ""
        self.half_sent, self.release = threading.Event(), threading.Event()  # of a file of acme/slow

    def answer(self, method: str, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of one request."""
        self.requests.append((method, path))
        parts = path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if api else parts[:2])
        if repo == "acme/gated" and token != TOKEN:
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, b""
        if repo == "acme/broken":
            return 503, {}, b""
        if repo not in ("acme/tiny", "acme/gated", "acme/slow"):
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if api:
            revision = parts[5] if len(parts) > 5 else "main"
            if revision not in ("main", COMMIT):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b""
            if parts[4:5] == ["tree"]:
                return 200, {}, json.dumps([self._entry(file) for file in sorted(self.folder.iterdir())]).encode()
            names = [{"rfilename": file.name} for file in sorted(self.folder.iterdir())]
            return 200, {}, json.dumps({"id": repo, "sha": COMMIT, "siblings": names, "tags": []}).encode()
        file = self.folder / parts[4]
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        data = file.read_bytes()
        etag = hashlib.sha256(data).hexdigest()
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, data

    @staticmethod
    def _entry(file: Path) -> dict[str, object]:
        """Return a file as the hub lists it in a tree."""
        data = file.read_bytes()
        return {"type": "file", "path": file.name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@contextmanager
def stand_in_hub(folder: Path) -> Iterator[StandInHub]:
    """Serve the files in `folder` as acme/tiny, acme/gated (with TOKEN only) and acme/slow (half the weights)."""
    hub = StandInHub(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, with_body: bool) -> None:
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            status, headers, body = hub.answer(self.command, self.path, given)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body and "/slow/" in self.path and self.path.endswith("model.safetensors"):
                self.wfile.write(body[: len(body) // 2])
                hub.half_sent.set()
                hub.release.wait(120)
                self.wfile.write(body[len(body) // 2 :])
            elif with_body:
                self.wfile.write(body)

        def do_GET(self) -> None:
            self._answer(True)

        def do_HEAD(self) -> None:
            self._answer(False)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
