"""Faults on request: for calls by method and path, for webhooks by event type; each comes true a number of times."""

import re
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

CALLS = ("rate_limit", "lock_timeout", "failed", "failed_after", "timeout", "unreachable", "card_declined")
WEBHOOKS = ("drop", "duplicate", "delay", "reorder")

type Kind = Literal[
    "rate_limit", "lock_timeout", "failed", "failed_after", "timeout", "unreachable", "card_declined",
    "drop", "duplicate", "delay", "reorder",
]  # fmt: skip


@dataclass
class Fault:
    """`method`, `path` and `type` are regular expressions that must match from the start."""

    kind: Kind
    method: str = ".*"
    path: str = ".*"
    type: str = ".*"
    times: int = 1
    seconds: float = 0.0


class Faults:
    """The faults that are still to come true, in the order they were asked for."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = Lock()

    def add(self, **wish: Any) -> Fault:
        """ValueError if it makes no sense."""
        try:
            fault = Fault(**wish)
            for pattern in (fault.method, fault.path, fault.type):
                re.compile(pattern)
            counted = fault.times > 0 and fault.seconds >= 0
        except (TypeError, re.PatternError) as wrong:
            raise ValueError(f"no such fault: {wrong}") from wrong
        if fault.kind not in CALLS + WEBHOOKS or not counted:
            raise ValueError(f"no such fault: {fault.kind}, {fault.times} times")
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def of_call(self, method: str, path: str) -> Fault | None:
        return self._take(lambda f: f.kind in CALLS and re.match(f.method, method) and re.match(f.path, path))

    def of_webhook(self, type: str) -> Fault | None:
        return self._take(lambda f: f.kind in WEBHOOKS and re.match(f.type, type))

    def _take(self, fits: Any) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                if fits(fault):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None
