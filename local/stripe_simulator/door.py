"""The HTTP door: Stripe's forms and headers outside, the plain object inside; and the controls of the simulator."""

import base64
import binascii
import hmac
import json
import socket
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.stripe_simulator.account import API_VERSION
from local.stripe_simulator.errors import Refused, invalid, unrecognized
from local.stripe_simulator.forms import decode
from local.stripe_simulator.simulator import Dropped, Simulator

UNKNOWN_KEY = Refused(401, "Invalid API Key provided.")
NO_KEY = Refused(401, "You did not provide an API key.")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, simulator: Simulator, host: str, port: int) -> None:
        self.simulator = simulator
        super().__init__((host, port), Door)
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Stop answering and delivering, and free the port."""
        super().shutdown()
        self.server_close()
        self.simulator.close()


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # headers and body leave in one packet
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        try:
            if url.path.startswith("/_simulator/"):
                self._reply(*self._control(url.path.removeprefix("/_simulator/"), parse_qs(url.query), sent), {})
                return
            self._check_key()
            self._check_version()
            params = decode("&".join(part for part in (url.query, sent) if part))
            key = self.headers.get("Idempotency-Key")
            answer = self.server.simulator.answer(self.command, url.path, params, key)
            self._reply(answer.status, answer.body, answer.headers)
        except Refused as refused:
            self._reply(refused.status, refused.body, {})
        except Dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_POST = do_DELETE = do_GET

    def _check_version(self) -> None:
        said = self.headers.get("Stripe-Version", API_VERSION)
        if said != API_VERSION:
            raise invalid(f"Invalid Stripe API version: {said}. The simulator speaks {API_VERSION} only.")

    def _check_key(self) -> None:
        """Bearer, or the user name of basic authentication."""
        scheme, _, said = (self.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                said = base64.b64decode(said).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                said = ""
        if not said:
            raise NO_KEY
        wanted = self.server.simulator.api_key
        if wanted and not hmac.compare_digest(said.encode(), wanted.encode()):
            raise UNKNOWN_KEY

    def _control(self, name: str, query: dict[str, list[str]], sent: str) -> tuple[int, dict[str, Any]]:
        simulator = self.server.simulator
        match self.command, name.split("/"):
            case "POST", ["faults"]:
                try:
                    return 200, asdict(simulator.faults.add(**json.loads(sent)))
                except (TypeError, ValueError) as wrong:
                    return 400, {"error": {"message": str(wrong)}}
            case "DELETE", ["faults"]:
                simulator.faults.clear()
                return 200, {}
            case "GET", ["calls"]:
                return 200, {"calls": [asdict(call) for call in list(simulator.calls)]}
            case "GET", ["idle"]:
                return 200, {"idle": simulator.wait_idle(float(query.get("wait", ["0"])[0]))}
            case "POST", ["tick"]:
                simulator.tick()
                return 200, {}
            case "POST", ["deliver", event]:
                simulator.deliver(event)
                return 200, {}
        raise unrecognized(self.command, self.path)

    def _reply(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Its calls are on record in `Simulator.calls`."""


def serve(simulator: Simulator, port: int = 0, host: str = "127.0.0.1") -> Server:
    """Answer HTTP in the background. Port 0 takes a free one: see `server_port`."""
    return Server(simulator, host, port)
