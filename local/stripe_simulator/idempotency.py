"""Idempotency keys: what was answered once is answered again, and nothing is done twice."""

from dataclasses import dataclass
from typing import Any

from local.stripe_simulator.errors import Refused
from local.stripe_simulator.periods import DAY

STORED = (200, 402, 500)  # refusals of parameters, conflicts and rate limits are not


@dataclass
class Kept:
    path: str
    params: dict[str, Any]
    since: float
    answer: tuple[int, dict[str, Any]] | None = None  # none while the first request is at work


class Keys:
    """Not thread-safe: its owner holds a lock. Times are the wall clock's, not a test clock's."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def begin(self, key: str, path: str, params: dict[str, Any], now: float) -> tuple[int, dict[str, Any]] | None:
        """The stored answer of this key, or None: then the caller works, and says `finish` at the end."""
        if len(key) > 255:
            raise Refused(400, "Idempotency keys may be at most 255 characters long.", type="idempotency_error")
        kept = self._kept.get(key)
        if kept and now - kept.since >= DAY:
            kept = None
        if kept is None:
            self._kept[key] = Kept(path, params, now)
            return None
        if (kept.path, kept.params) != (path, params):
            raise Refused(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                type="idempotency_error",
            )
        if kept.answer is None:
            raise Refused(
                409,
                "There is currently another in-progress request using this Idempotent Key.",
                type="idempotency_error",
                code="idempotency_key_in_use",
            )
        return kept.answer

    def finish(self, key: str, status: int, body: dict[str, Any]) -> None:
        if status in STORED:
            self._kept[key].answer = status, body
        else:
            del self._kept[key]
