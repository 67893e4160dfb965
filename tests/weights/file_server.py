"""A server of files for tests: ranges, cut connections, refusals, and what a hub adds to that."""

import hashlib
import http.server
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Files:
    """What is served, how badly, and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)  # by path
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    statuses: list[int] = field(default_factory=list)  # what the next answers are instead
    is_hub: bool = False
    refusal: str = "EntryNotFound"  # what the hub calls the reason
    promised_sha256: str | None = None  # the hub's claim; None for the truth
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # method, range
    tokens: list[str | None] = field(default_factory=list)
    address: str = ""

    def etag(self, path):
        return self.promised_sha256 or hashlib.sha256(self.files[path]).hexdigest()


@contextmanager
def serving(files):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, *, with_body):
            files.asked.append((self.command, self.headers.get("Range")))
            files.tokens.append(self.headers.get("Authorization"))
            status = files.statuses.pop(0) if files.statuses else 200
            if self.path not in files.files:
                status = 404
            if status != 200:
                self.send_response(status)
                if files.is_hub:
                    self.send_header("X-Error-Code", files.refusal)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body, etag = files.files[self.path], f'"{files.etag(self.path)}"'
            start = self.first_byte(etag)
            if start >= len(body) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body) - start))
            if files.is_hub:
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body:
                self.send(body[start:])

        def first_byte(self, etag):
            wanted = self.headers.get("Range")
            if not wanted or self.headers.get("If-Range", etag) != etag:
                return 0
            return int(wanted.removeprefix("bytes=").partition("-")[0])

        def send(self, body):
            cut = files.cuts.pop(0) if files.cuts else None
            with suppress(ConnectionError):  # whoever has seen enough goes away
                self.wfile.write(body if cut is None else body[:cut])
            self.close_connection = True

        def log_message(self, *arguments):
            """Be quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused_address():
    """An address at which nobody listens."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    port = server.server_address[1]
    server.server_close()
    return f"http://127.0.0.1:{port}"
