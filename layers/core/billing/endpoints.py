"""The product's own URL, which is told of what happens: when it is tried again, and when no more."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from billing.periods import DAY, rfc3339

AGAIN = (5, 300, 1800, 7200, 18_000, 36_000, 36_000)  # seconds after each attempt that failed; after the last: never
LONGEST = 39_000  # seconds that it may ask us to stay away: SQS hides nothing for more than twelve hours
PATIENCE = 5 * DAY  # of nothing but failures
FEWEST = 10  # of them: one event that nobody takes is no reason
GONE = 410  # it wants to hear no more


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How it does. Nothing of it: it has taken all that it was told since it last failed."""

    failing_since: int | None = None
    failures: int = 0  # since then, with none taken in between
    disabled_at: int | None = None
    reason: str | None = None  # gone, failing

    def disabled_by(self, status: int | None, at: int) -> str | None:
        """Why it is told nothing any more after it has failed once more; None: it is still tried."""
        if status == GONE:
            return "gone"
        since = at if self.failing_since is None else self.failing_since
        return "failing" if at - since >= PATIENCE and self.failures + 1 >= FEWEST else None

    def public(self, url: str) -> dict:
        """The URL without its query, which may be a secret, and without who logs in by it."""
        said = urlsplit(url)
        return {
            "url": f"{said.scheme}://{said.netloc.rpartition('@')[2]}{said.path}" if url else None,
            "failing_since": rfc3339(self.failing_since),
            "failures": self.failures,
            "disabled_at": rfc3339(self.disabled_at),
            "reason": self.reason,
        }


def delay(attempts: int, asked: int, jitter: float) -> int | None:
    """
    Seconds until an event is tried again that has failed so often; None: no more. `asked`: by the endpoint's own
    Retry-After; `jitter`: 0 to 1, up to a tenth longer.
    """
    if attempts > len(AGAIN):
        return None
    return int(min(max(AGAIN[attempts - 1], asked), LONGEST) * (1 + jitter / 10))


def told(event: dict) -> dict:
    """What the URL is told of an event on the bus, in the field names of Standard Webhooks."""
    about = {"type": event["type"], "timestamp": event["at"], "data": event["data"]}
    return about | {name: event[name] for name in ("id", "customer", "sequence")}
