"""The stack that `make serve` holds up, as other processes find it."""

import json
from urllib.error import URLError
from urllib.request import urlopen

from local.ministack import ROOT

STATE = ROOT / ".local/stack.json"


def publish(stack: dict[str, str]) -> None:
    """For others to find; refused while another stack stands there that still answers."""
    if found := _alive():
        raise SystemExit(f"A local stack is running already: {found['api_url']}")
    STATE.write_text(json.dumps(stack, indent=2) + "\n")


def withdraw() -> None:
    STATE.unlink(missing_ok=True)


def running() -> dict[str, str]:
    if not (found := _alive()):
        raise SystemExit("No local stack is running: make serve")
    return found


def _alive() -> dict[str, str] | None:
    """What the file says, if that still is so: whoever was killed could not take it back."""
    if not STATE.exists():
        return None
    found = json.loads(STATE.read_text())
    try:
        urlopen(f"{found['issuer']}/.well-known/openid-configuration", timeout=5).close()
    except (URLError, TimeoutError):
        return None
    return found
