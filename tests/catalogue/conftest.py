"""The real functions behind the tools' door, and what the tools say."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.tollgate import Answer, Tollgate


@pytest.fixture
def asked():
    """Every request that the tools have made, as "METHOD /path"."""
    return []


@pytest.fixture
def send(api, asked):
    def to_functions(method, path, body, key):
        asked.append(f"{method} {path}")
        answer = api(method, path, body, key=key, claims={"scope": "billing/admin billing/service"})
        later = answer.headers.get("retry-after")
        return Answer(answer.status, answer.json, float(later) if later else None)

    return to_functions


@pytest.fixture
def waited():
    return []


@pytest.fixture
def tollgate(send, waited):
    return Tollgate(send, waited.append)


class Told(list):
    def text(self):
        """What has been said since the last time, in words that one space parts."""
        words = " ".join(" ".join(line.split()) for line in self)
        self.clear()
        return words


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def url(send):
    """The functions, at a URL, as API Gateway would have them."""

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            token, path = self.headers["authorization"], self.path.removeprefix("/base")
            if self.command == "GET" or token == "Bearer s3cret":
                answer = send(self.command, path, body, self.headers["idempotency-key"])
            else:
                answer = Answer(401, {"message": "Unauthorized"})
            self.send_response(answer.status)
            self.end_headers()
            self.wfile.write(json.dumps(answer.content).encode())

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, format, *args): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/base"
    server.shutdown()
    server.server_close()


@pytest.fixture
def tool():
    return "local.plans"


@pytest.fixture
def command(url, tool):
    def run(*said, token="s3cret", at=url):
        """In a process of its own, with nothing in the environment but where and who."""
        environment = {"PATH": os.environ["PATH"], "TOLLGATE_URL": at, "TOLLGATE_TOKEN": token}
        asked = [sys.executable, "-m", tool, *said]
        return subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60)

    return run
