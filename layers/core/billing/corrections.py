"""What was recorded wrongly is never edited: a correction is an event of its own, with its reason and who made it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256

from billing.errors import AlreadyCorrected, NotCorrectable
from billing.usage import Event, Recorded, id_of


@dataclass(frozen=True, slots=True)
class Correction:
    """Without a quantity or a value it voids an event; else what it says takes the event's place, at its instant."""

    customer: str
    key: str  # the caller's, among the customer's keys of events
    corrects: str  # the key of the event, or of what took its place already
    reason: str
    actor: str
    quantity: int | None = None
    value: str | None = None

    @property
    def id(self) -> str:
        return id_of(self.customer, self.key)

    @property
    def voids(self) -> bool:
        return self.quantity is None and self.value is None

    @property
    def fingerprint(self) -> str:
        """Of what was said; whoever says it again need not be the same."""
        said = ["correction", self.corrects, self.reason, self.quantity, self.value]
        return sha256(json.dumps(said).encode()).hexdigest()[:32]

    def applied(self, original: Recorded) -> Event | None:
        """What takes the place of an event; None: nothing does."""
        if original.void:
            raise NotCorrectable("this key is of a correction that voids: there is nothing left to correct")
        if original.corrected_by is not None:
            raise AlreadyCorrected(f"corrected already, under the key {original.corrected_by}: correct that one")
        if self.voids:
            return None
        told = original.event
        return replace(
            told,
            key=self.key,
            quantity=told.quantity if self.quantity is None else self.quantity,
            value=told.value if self.value is None else self.value,
            fingerprint=self.fingerprint,
        )


def corrected(correction: Correction, original: Recorded, duplicate: bool) -> dict:
    """The answer, the same whenever it is asked for again."""
    event = correction.applied(replace(original, corrected_by=None))
    return {
        "customer_id": correction.customer,
        "metric_id": original.event.metric,
        "idempotency_key": correction.key,
        "corrects": correction.corrects,
        "status": "voided" if event is None else "amended",
        "duplicate": duplicate,
        "quantity": 0 if event is None else event.quantity,
        "reason": correction.reason,
    }
