"""What answers by plain HTTP here is called by TLS from what is measured: a first call on AWS has a handshake."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


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
        self.text, self.file = signed.decode(), folder / "bench.pem"
        form = serialization.PrivateFormat.PKCS8
        private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        self.file.write_bytes(private + signed)

    @contextmanager
    def before(self, url: str) -> Iterator[str]:
        """A front of what answers at a URL: the same, by https."""
        server, behind = socket.create_server(("127.0.0.1", 0)), urlsplit(url)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        threading.Thread(target=_serve, args=(server, context, (behind.hostname, behind.port)), daemon=True).start()
        try:
            yield f"https://127.0.0.1:{server.getsockname()[1]}{behind.path}"
        finally:
            server.close()


def _serve(server: socket.socket, context: ssl.SSLContext, behind: tuple[str, int]) -> None:
    with suppress(OSError):
        while True:
            caller, _ = server.accept()
            threading.Thread(target=_tunnel, args=(caller, context, behind), daemon=True).start()


def _tunnel(caller: socket.socket, context: ssl.SSLContext, behind: tuple[str, int]) -> None:
    with suppress(OSError), context.wrap_socket(caller, server_side=True) as near, _connected(behind) as far:
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join()


def _connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
