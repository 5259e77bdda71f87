"""Starts MiniStack, in its own venv. Its standard input is a pipe that the starter holds: whatever ends the starter,
even SIGKILL, ends the pipe, and with it MiniStack, its Lambda workers (its process group) and its files."""

import os
import shutil
import signal
import sys
import threading

from ministack.app import main
from ministack.services.cloudformation import changesets


def end_with_starter() -> None:
    sys.stdin.read()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def parameters_reach_sam() -> None:
    """AWS gives the SAM transform the values of the stack's parameters, MiniStack none: it would see the defaults only.

    What SAM decides by a value comes out wrong then: no CORS for any AllowedOrigins. So the values become the defaults.
    """
    transform = changesets._apply_transforms

    def transform_with_values(template, provided=None, previous=None):
        for parameter in provided or []:
            declared, value = template["Parameters"][parameter["Key"]], parameter["Value"]
            declared["Default"] = value.split(",") if declared["Type"] == "CommaDelimitedList" else value
        return transform(template, provided, previous)

    changesets._apply_transforms = transform_with_values


threading.Thread(target=end_with_starter, daemon=True).start()
parameters_reach_sam()
main()
