"""The stack that `make serve` holds up, as other processes find it."""

import json

from local.ministack import ROOT

STATE = ROOT / ".local/stack.json"


def publish(stack: dict[str, str]) -> None:
    STATE.write_text(json.dumps(stack, indent=2) + "\n")


def withdraw() -> None:
    STATE.unlink(missing_ok=True)


def running() -> dict[str, str]:
    if not STATE.exists():
        raise SystemExit("No local stack is running: make serve")
    return json.loads(STATE.read_text())
