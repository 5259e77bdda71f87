"""A change that is decided, and on record as held, before Stripe hears of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

LIFE = 25  # seconds: the function's timeout
PATIENCE = 2 * LIFE  # seconds: whoever sent an older hold's steps is dead, and so is whoever joined in time
GOOD_FOR = 30 * 60  # seconds in which a hold may be sent: prices and periods move, and so does what it was drafted on
MARK = r"[0-9a-f]{32}"  # what a digest is
EXPIRY = 23 * 3600  # seconds: an hour before Stripe may forget an idempotency key


@dataclass(frozen=True, slots=True)
class Wish:
    """Where the customer wants to be: absolute, so that wishing twice is wishing once."""

    action: str  # subscribe, checkout, change, discount, cancel, pause, resume, withdraw, end_trial, profile
    terms: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One call to Stripe, fixed whole at the hold: what is sent again is what was sent."""

    call: str  # a line of steps.CALLS
    target: str  # the object it is about; for a creation, the Stripe customer
    params: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """
    What a wish takes. The last of `steps` is the one that makes it true: until it is taken there is a way back, by
    `restore`; once it is taken there is none, and what follows is owed.
    """

    steps: list[Step]
    follow: list[Step] = field(default_factory=list)  # each looks whether it has been taken: it may be taken twice
    restore: list[Step] = field(default_factory=list)  # likewise
    told: dict = field(default_factory=dict)  # what the caller is told beside the subscription: what it costs
    invoices: bool = False  # whether Stripe makes an invoice of it at once
    quote: str | None = None  # the id of the one that it uses up
    claim: str | None = None  # fingerprint of the card that has its one trial by this


@dataclass(frozen=True, slots=True)
class Change:
    """
    A wish and what makes it true, on record. It is found at Stripe by its mark in the metadata, or, where a call takes
    none, by the state that it leaves.
    """

    id: str  # of what was asked for: the same Idempotency-Key is the same id
    mark: str  # of this hold of it, in Stripe's metadata and keys: no earlier hold is taken for it
    fingerprint: str  # of the request: the same Idempotency-Key must come with the same
    wish: Wish
    draft: Draft
    held_at: int
    sent_at: int  # when someone last began to send its steps
    basis: str = ""  # digest of the state that it was drafted on
    attempt: int = 0
    failures: int = 0
    also: list[dict] = field(default_factory=list)  # {id, fingerprint} of others who asked for it and took it over

    @property
    def main(self) -> Step:
        return self.draft.steps[-1]

    def joinable(self, at: int) -> bool:
        """Whether who begins now will have ended when it is overdue."""
        return at < self.sent_at + PATIENCE - LIFE

    def overdue(self, at: int) -> bool:
        return at >= self.sent_at + PATIENCE

    def expired(self, at: int) -> bool:
        return at >= self.held_at + GOOD_FOR

    def key(self, part: str, number: int) -> str:
        """
        Stripe's idempotency key of a step: a new attempt is a new key, for Stripe replays a stored 402 or 500. So is a
        new try of what follows or restores, which has looked whether it has been taken.
        """
        again = f":{self.failures}" if part else ""
        return f"{self.mark}:{part}{number}:{self.attempt}{again}"


@dataclass(frozen=True, slots=True)
class Settled:
    """What the caller of a change was told; kept a day, so that the same key is answered the same."""

    id: str
    fingerprint: str
    answer: dict


NAMEABLE = r"^[ -~]{1,255}$"  # a customer, a metric, a key of the caller's: printable ASCII


def nameable(text: object) -> bool:
    """What may name a customer, a metric, or a wish (an Idempotency-Key): 1 to 255 printable ASCII characters."""
    return isinstance(text, str) and text.isascii() and text.isprintable() and 1 <= len(text) <= 255


def digest(*parts) -> str:
    """
    Callers' keys are theirs alone: two customers may send the same one, and Stripe's account is shared. The order of a
    dict means nothing, for what has been on record comes back in another one.
    """
    text = json.dumps(parts, sort_keys=True, default=asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
