"""
What answers by plain HTTP is called by TLS here, for a first call on AWS has a handshake; and what it answered once can
be played again, so that what is measured is the function and not the emulator.
"""

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.sandbox import Server

HOPS = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}


class Tape:
    """Answers, in their order: of a process that asks for one thing after the other, whomever it asks."""

    def __init__(self) -> None:
        self._kept: dict[str, list[bytes]] = {}
        self._recording: list[bytes] | None = None
        self._playing: Iterator[bytes] | None = None

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """The first time all is asked and kept; later it is played."""
        if name in self._kept:
            self._playing = iter(self._kept[name])
        else:
            self._recording = []
        yield
        if self._recording is not None:
            self._kept[name] = self._recording
        self._recording = self._playing = None

    def played(self) -> bytes | None:
        """None: it has to be asked."""
        return next(self._playing) if self._playing else None

    def keep(self, answer: bytes) -> None:
        if self._recording is not None:
            self._recording.append(answer)


class Certificate:
    """Of 127.0.0.1, signed by itself: whoever is to trust it adds `text` to those that it trusts."""

    def __init__(self, folder: Path):
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        made = made.add_extension(here, critical=False).add_extension(x509.BasicConstraints(True, None), critical=True)
        signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        form = serialization.PrivateFormat.PKCS8
        private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        self.text, self.file = signed.decode(), folder / "bench.pem"
        self.file.write_bytes(private + signed)


@contextmanager
def front(certificate: Certificate, url: str, tape: Tape) -> Iterator[str]:
    """The same as at a URL, by https."""
    server, context = Server(("127.0.0.1", 0), _handler(url, tape)), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}{urlsplit(url).path}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(url: str, tape: Tape) -> type[BaseHTTPRequestHandler]:
    behind = urlsplit(url).netloc

    class Front(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = tape.played()
            if answer is None:
                answer = self._asked(body)
                tape.keep(answer)
            self.wfile.write(answer)

        do_POST = do_DELETE = do_PUT = do_GET

        def _asked(self, body: bytes) -> bytes:
            wire = http.client.HTTPConnection(behind)
            wire.request(self.command, self.path, body, dict(self.headers))
            said = wire.getresponse()
            content = said.read()
            wire.close()
            lines = [f"HTTP/1.1 {said.status} {said.reason}"]
            lines += [f"{name}: {value}" for name, value in said.getheaders() if name.lower() not in HOPS]
            lines += [f"Content-Length: {len(content)}", "", ""]
            return "\r\n".join(lines).encode("latin-1") + content

        def log_message(self, *_: Any) -> None:
            return

    return Front
