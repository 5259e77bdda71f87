"""One Stripe account: every record, the time that each lives in, what is due, and what is told about it."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

from local.stripe_simulator.answers import Record, expanded, shown
from local.stripe_simulator.errors import missing

PREFIXES = {
    "billing_portal.configuration": "bpc",
    "billing_portal.session": "bps",
    "charge": "ch",
    "checkout.session": "cs_test",
    "credit_note": "cn",
    "customer": "cus",
    "customer_balance_transaction": "cbtxn",
    "discount": "di",
    "event": "evt",
    "invoice": "in",
    "invoice_payment": "inpay",
    "invoiceitem": "ii",
    "item": "li",
    "line_item": "il",
    "payment_intent": "pi",
    "payment_method": "pm",
    "price": "price",
    "product": "prod",
    "refund": "re",
    "promotion_code": "promo",
    "setup_intent": "seti",
    "subscription": "sub",
    "subscription_item": "si",
    "subscription_schedule": "sub_sched",
    "tax_id": "txi",
    "test_helpers.test_clock": "clock",
    "webhook_endpoint": "we",
}


@dataclass(frozen=True)
class Settings:
    """
    What one sets in Stripe's dashboard: when failed renewals are tried again, what happens after the last, and the
    one rate of tax, in percent; and which of Stripe's limits on a subscription hold here.
    """

    retry_days: tuple[int, ...] = (3, 5, 7, 9)  # after the first attempt
    after_retries: str = "past_due"  # or "cancel", or "unpaid"
    tax_percent: Decimal | int = 0
    limits_invoices: bool = True  # 10 new ones a minute, 20 a day
    limits_quantities: bool = True  # 200 changes an hour


@dataclass(frozen=True)
class Cause:
    """The request that an event goes back to; both are null for what happened by itself."""

    id: str | None = None
    idempotency_key: str | None = None


@dataclass
class Account:
    clock: Callable[[], float]
    settings: Settings = field(default_factory=Settings)
    told: Callable[[Record], None] = lambda event: None
    cause: Cause = field(default_factory=Cause)
    tables: dict[str, dict[str, Record]] = field(default_factory=lambda: defaultdict(dict))
    books: dict[str, Any] = field(default_factory=dict)  # what Stripe knows of a record and does not show
    cards: dict[str, Any] = field(default_factory=dict)  # by payment method: how it behaves
    looks: dict[str, Callable[["Account", Record], None]] = field(default_factory=dict)
    _owned: dict[tuple[str, str | None], dict[str, Record]] = field(default_factory=lambda: defaultdict(dict))
    _agendas: dict[str | None, list[tuple[int, int, str, str]]] = field(default_factory=lambda: defaultdict(list))
    _entries: Iterator[int] = field(default_factory=count)
    _at: int | None = None

    # Records

    def add(self, record: Record) -> Record:
        self.tables[record["object"]][record["id"]] = record
        self._owned[record["object"], record.get(_owner(record))][record["id"]] = record
        return record

    def remove(self, record: Record) -> None:
        del self.tables[record["object"]][record["id"]]
        del self._owned[record["object"], record.get(_owner(record))][record["id"]]

    def move(self, record: Record, owner: str | None) -> None:
        del self._owned[record["object"], record[_owner(record)]][record["id"]]
        record[_owner(record)] = owner
        self._owned[record["object"], owner][record["id"]] = record

    def get(self, kind: str, id: str, param: str = "id", status: int = 404) -> Record:
        record = self.tables[kind].get(id)
        if record is None or record.get("deleted") or record.get("retired"):
            raise missing(NOUNS.get(kind, kind), id, param, status)
        return record

    def all(self, kind: str) -> list[Record]:
        return [one for one in self.tables[kind].values() if not one.get("deleted") and not one.get("retired")]

    def of(self, kind: str, owner: str) -> list[Record]:
        """What a customer has; of customers, those on a test clock."""
        return list(self._owned[kind, owner].values())

    def show(self, record: Record, paths: list[str]) -> Record:
        return expanded(record, paths, lambda kind, id: self.tables[kind][id])

    # Time

    def now(self, record: Record | None = None) -> int:
        """Now, in the time that the record lives in: its customer's test clock, or the wall clock."""
        clock = self.clock_of(record) if record else None
        if clock:
            return self.tables["test_helpers.test_clock"][clock]["frozen_time"]
        return int(self.clock()) if self._at is None else self._at

    def clock_of(self, record: Record) -> str | None:
        if "test_clock" in record:
            return record["test_clock"]
        if "customer" not in record and record.get("invoice"):
            return self.clock_of(self.tables["invoice"][record["invoice"]])
        customer = record.get("customer")
        return self.tables["customer"].get(customer or "", {}).get("test_clock")

    def look_at(self, record: Record, at: int | None) -> None:
        """Have this record looked at when that moment has come, by the function registered for its kind."""
        if at is not None:
            entry = at, next(self._entries), record["object"], record["id"]
            heapq.heappush(self._agendas[self.clock_of(record)], entry)

    def run(self, clock: str | None, until: int) -> None:
        """Let everything that is due happen, in the order of time. A look finds out for itself what is due."""
        agenda, cause = self._agendas[clock], self.cause
        self.cause = Cause()
        try:
            while agenda and agenda[0][0] <= until:
                at, _, kind, id = heapq.heappop(agenda)
                record = self.tables[kind].get(id)
                if record and not record.get("deleted") and self.clock_of(record) == clock:
                    self._set(clock, at)
                    self.looks[kind](self, record)
        finally:
            self._at, self.cause = None, cause

    def _set(self, clock: str | None, at: int) -> None:
        if clock:
            frozen = self.tables["test_helpers.test_clock"][clock]
            frozen["frozen_time"] = max(frozen["frozen_time"], at)
        else:
            self._at = max(self._at or at, at)

    # All of it

    def kept(self) -> Record:
        return {name: getattr(self, name) for name in ("tables", "books", "cards", "_owned", "_agendas")}

    def become(self, kept: Record) -> None:
        for name, value in kept.items():
            setattr(self, name, value)

    # What is told

    def emit(self, type: str, record: Record, previous: Record | None = None, snapshot: Record | None = None) -> None:
        """Record an event with a snapshot of the record as it is now, and have it delivered."""
        data = {"object": snapshot or shown(record)} | ({"previous_attributes": previous} if previous else {})
        event: Record = {
            "id": new_id("event"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(record),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.cause.id, "idempotency_key": self.cause.idempotency_key},
            "type": type,
        }
        self.told(self.add(event))

    @contextmanager
    def changing(self, record: Record, type: str | None = None) -> Iterator[Record]:
        """Tell of the change made inside, with what stood there before; of no change, nothing."""
        before = shown(record)
        yield record
        after = shown(record)
        previous = difference(before, after)
        if previous:
            name = type or f"{EVENT_NAMES.get(record['object'], record['object'])}.updated"
            self.emit(name, record, previous, after)


API_VERSION = "2026-10-28.endive"
EVENT_NAMES = {"subscription": "customer.subscription"}
NOUNS = {"promotion_code": "promotion code", "test_helpers.test_clock": "test_clock"}


def _owner(record: Record) -> str:
    return "test_clock" if record["object"] == "customer" else "customer"


def new_id(kind: str) -> str:
    return f"{PREFIXES[kind]}_{uuid4().hex[:20]}"


def difference(before: Any, after: Mapping[str, Any]) -> Record:
    """What stood there before, of all that is no longer the same. Objects are compared field by field, lists whole."""
    changed = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old != new:
            both = isinstance(old, dict) and isinstance(new, dict) and old.get("object") == new.get("object")
            changed[name] = difference(old, new) if both and new else old
    return changed
