"""
A function as Lambda runs it: a process of its own with Lambda's real runtime (awslambdaric), which asks a Runtime API
for its events, and answers there (docs: AWS Lambda runtime API). Nothing but what is deployed is on its path.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from typing import Any

PATIENCE = 30  # seconds
RUNTIME = ("awslambdaric", "simplejson", "snapshot_restore_py", "runtime_client")
START = "import sys; sys.path[:0] = {paths!r}; from awslambdaric.__main__ import main; main(['', {handler!r}])"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has been killed: that is how each ends."""


class Sandbox:
    """One process and its Runtime API."""

    def __init__(self) -> None:
        self.began = self.ready = 0.0  # when it was started, and when it first asked for an event: loaded
        self._events: Queue[bytes] = Queue()
        self._answers: Queue[tuple[float, str, bytes]] = Queue()
        self._server = Server(("127.0.0.1", 0), self._api())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def start(self, handler: str, paths: Sequence[str], settings: dict[str, str]) -> None:
        """`handler` as a template names it."""
        address = f"127.0.0.1:{self._server.server_port}"
        environment = settings | {"AWS_LAMBDA_RUNTIME_API": address, "AWS_LAMBDA_FUNCTION_NAME": handler}
        script = START.format(paths=list(paths), handler=handler)
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", script],
            env=environment | {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, event: dict) -> tuple[float, Any]:
        """When it was answered, and what; an error is {"errorType", ...}."""
        self._events.put(json.dumps(event).encode())
        at, _, body = self._answers.get(timeout=PATIENCE)
        return at, json.loads(body) if body else None

    def cpu(self) -> float:
        """Seconds that all its threads have run for, to the microsecond (docs: proc(5), schedstat of Linux)."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._events.put(b"")
        self._server.shutdown()
        self._server.server_close()

    def _api(self) -> type[BaseHTTPRequestHandler]:
        sandbox = self

        class Api(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # .../invocation/next
                sandbox.ready = sandbox.ready or time.perf_counter()
                event = sandbox._events.get()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "request-1")
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + PATIENCE) * 1000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:1:function:bench")
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-0-0;Sampled=0")
                self.send_header("Content-Type", "application/json")  # without, the client dies
                self.send_header("Content-Length", str(len(event)))
                self.end_headers()
                self.wfile.write(event)

            def do_POST(self) -> None:  # .../invocation/{id}/response, .../error, .../init/error
                at = time.perf_counter()
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                sandbox._answers.put((at, self.path.rsplit("/", 1)[1], body))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        return Api


@contextmanager
def sandbox(handler: str, paths: Sequence[str], settings: dict[str, str]) -> Iterator[Sandbox]:
    """Started, and gone on leaving."""
    one = Sandbox()
    one.start(handler, paths, settings)
    try:
        yield one
    finally:
        one.stop()


def runtime(folder: Path) -> str:
    """A path that has what Lambda's own runtime needs, and nothing else."""
    folder.mkdir()
    for name in RUNTIME:
        spec = find_spec(name)
        assert spec and spec.origin
        found = Path(spec.origin)
        found = found.parent if found.name == "__init__.py" else found
        os.symlink(found, folder / found.name)
    return str(folder)
