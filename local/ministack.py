"""The AWS of the local stack: MiniStack in a process of its own, with IAM enforced, on 127.0.0.1 only."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".local/venv/ministack/bin/python"
BOOT = Path(__file__).with_name("ministack_boot.py")
REGION = "eu-west-1"
PATIENCE_S = 30


class MiniStack:
    """`environment` is what a process needs, and all it needs, to take this for AWS."""

    def __init__(self, endpoint: str, home: str = ""):
        self.endpoint, self.region, self.home = endpoint, REGION, home
        self.environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",  # MiniStack's root: may do everything
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._session = boto3.Session("test", "test", region_name=REGION)

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client, of the root user unless `options` (boto3's) name another. Threads may share it."""
        return self._session.client(service, endpoint_url=self.endpoint, **options)


@contextmanager
def ministack() -> Iterator[MiniStack]:
    """An empty AWS, up in half a second; it and all it holds are gone on leaving."""
    if not PYTHON.exists():
        raise SystemExit("MiniStack is not installed: make setup")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a Lambda unpacks its layers here, file by file
    with TemporaryDirectory(prefix="tollgate-", dir=memory, ignore_cleanup_errors=True) as home:
        port = free_port()
        log = Path(home, "ministack.log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [PYTHON, "-P", BOOT],  # -P: our own folder is no place to import from
                cwd=home,
                env=_environment(home, port),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us: we still have to put things away
            )
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _await(f"{endpoint}/_ministack/ready", process, log)
            yield MiniStack(endpoint, home)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(home: str, port: int) -> dict[str, str]:
    """Made from nothing: every Lambda inherits it."""
    return {
        "PATH": f"{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "AUTH": "true",
        "IOT_MTLS_ENABLED": "0",  # or it listens on every interface
        "SFTP_ENABLED": "0",
        "STATE_DIR": f"{home}/state",
        "S3_DATA_DIR": f"{home}/s3",
        "LOG_LEVEL": "WARNING",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(url, timeout=1).close()
            return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.05)
    raise RuntimeError(f"MiniStack did not come up:\n{log.read_text()}")
