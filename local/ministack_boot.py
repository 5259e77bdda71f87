"""Starts MiniStack, in its own venv. Its standard input is a pipe that the starter holds: whatever ends the starter,
even SIGKILL, ends the pipe, and with it MiniStack, its Lambda workers (its process group) and its files."""

# pyright: reportMissingImports=false

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

from ministack.app import main
from ministack.core import iam_actions, lambda_runtime
from ministack.services.cloudformation import changesets


def end_with_starter() -> None:
    sys.stdin.read()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def parameters_reach_sam() -> None:
    """AWS gives the SAM transform the values of the stack's parameters, MiniStack none: it would see the defaults only,
    and those of lists unsplit.

    What SAM decides by a value comes out wrong then: no CORS for any AllowedOrigins. So the values become the defaults.
    """
    transform = changesets._apply_transforms

    def transform_with_values(template, provided=None, previous=None):
        values = {parameter["Key"]: parameter["Value"] for parameter in provided or []}
        for name, declared in template.get("Parameters", {}).items():
            value = values.get(name, declared.get("Default"))
            if declared["Type"] == "CommaDelimitedList" and isinstance(value, str):
                value = [each for each in value.split(",") if each]
            if value is not None:
                declared["Default"] = value
        return transform(template, provided, previous)

    changesets._apply_transforms = transform_with_values


def schedules_have_a_group() -> None:
    """
    A schedule is `schedule/<group>/<name>` to IAM. MiniStack reads its path alone, and the group of one that is made or
    changed is in the body: it would refuse whoever may make schedules in a group of their own.
    """
    resource_of = iam_actions.extract_resource_arn

    def with_group(service, method, path, headers, body, *others):
        found = resource_of(service, method, path, headers, body, *others)
        if service == "scheduler" and method in ("POST", "PUT") and body:
            return found.replace(":schedule/default/", f":schedule/{json.loads(body).get('GroupName', 'default')}/")
        return found

    iam_actions.extract_resource_arn = with_group


class SharedLayer(zipfile.ZipFile):
    """AWS mounts a layer, read-only and already unpacked. MiniStack unpacks it for every worker that starts, and each
    compiles the same modules again: more than half of a cold start. So all workers get a link to the same copy."""

    unpacking = threading.Lock()

    def extractall(self, path: str, *_) -> None:
        content = hashlib.sha256(Path(str(self.filename)).read_bytes()).hexdigest()
        shared = Path(os.environ["TMPDIR"], "unpacked", content)
        with self.unpacking:
            if not shared.exists():
                super().extractall(shared)
        os.rmdir(path)
        os.symlink(shared, path)


# AWS's Python runtime hangs a handler on the root logger; with LogFormat JSON it takes INFO and up, and writes `extra`
# too. MiniStack's has none: what the functions say would be lost, and it waits 50 ms for a line of each call.
LOGGING = """
import json, logging

class Json(logging.Formatter):
    usual = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}

    def format(self, record):
        said = {"level": record.levelname, "message": record.getMessage(), "logger": record.name}
        said |= {name: value for name, value in vars(record).items() if name not in self.usual}
        if record.exc_info:
            said["stackTrace"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)

handler = logging.StreamHandler()
handler.setFormatter(Json())
logging.getLogger().addHandler(handler)
logging.getLogger().setLevel(logging.INFO)
"""


os.environ.pop("LOG_LEVEL", None)  # MiniStack has read it; Powertools would take it for the functions' own
threading.Thread(target=end_with_starter, daemon=True).start()
parameters_reach_sam()
schedules_have_a_group()
lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": SharedLayer})
lambda_runtime._PYTHON_WORKER_SCRIPT = LOGGING + lambda_runtime._PYTHON_WORKER_SCRIPT
main()
