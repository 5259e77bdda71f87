"""A Stripe of our own, as a plain object: a call goes in, an answer comes out, and events go to their endpoints."""

import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any
from uuid import uuid4

from local.stripe_simulator import (
    balances,
    catalogue,
    checkout,
    clocks,
    collection,
    coupons,
    credit_notes,
    customers,
    events,
    invoicing,
    pausing,
    payments,
    portal,
    previews,
    refunds,
    renewals,
    routes,
    scheduling,
    subscribing,
)
from local.stripe_simulator.account import API_VERSION, Account, Cause, Settings
from local.stripe_simulator.answers import Record, shown
from local.stripe_simulator.errors import Refused, busy, declined, failed, missing
from local.stripe_simulator.faults import Fault, Faults
from local.stripe_simulator.idempotency import Keys
from local.stripe_simulator.webhooks import Courier

# Each registers its routes.
ROUTED = (
    balances,
    catalogue,
    checkout,
    clocks,
    credit_notes,
    coupons,
    customers,
    events,
    invoicing,
    pausing,
    payments,
    portal,
    previews,
    refunds,
    scheduling,
    subscribing,
)
RETRY_DELAYS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class Dropped(Exception):
    """The connection ends without an answer."""


@dataclass(frozen=True)
class Call:
    """`status` is None where no answer was given."""

    method: str
    path: str
    key: str | None
    params: dict[str, Any]
    status: int | None
    replayed: bool = False


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    headers: dict[str, str]


class Table(Mapping[str, Record]):
    """All records of a kind, each as Stripe would answer it without `expand`."""

    def __init__(self, account: Account, kind: str, lock: RLock) -> None:
        self._account, self._kind, self._lock = account, kind, lock

    def __getitem__(self, id: str) -> Record:
        with self._lock:
            return shown(self._account.tables[self._kind][id])

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._account.tables[self._kind]))

    def __len__(self) -> int:
        return len(self._account.tables[self._kind])


class Simulator:
    """
    Speaks Stripe's API, version 2026-10-28.endive. Thread-safe: one lock round every change.

    `now` is the wall clock, in seconds; customers on a test clock live in its time.
    `latency` is how many seconds each call takes before its work, so that calls overlap.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        latency: float = 0.0,
        api_key: str | None = None,
        settings: Settings | None = None,
        webhook_delays: tuple[float, ...] = RETRY_DELAYS,
        webhook_timeout: float = 30.0,
        webhook_workers: int = 2,
    ) -> None:
        self.latency, self.api_key = latency, api_key
        self.calls: list[Call] = []
        self.faults = Faults()
        self._lock = RLock()
        self._keys: Keys = Keys()
        self._courier = Courier(webhook_delays, webhook_timeout, webhook_workers)
        self._account = Account(now, settings or Settings(), self._tell)
        self._account.looks |= {
            "checkout.session": checkout.advance,
            "coupon": coupons.advance_coupon,
            "invoice": collection.advance,
            "promotion_code": coupons.advance_code,
            "subscription": renewals.advance,
            "subscription_schedule": scheduling.advance,
        }
        self.charges = self._table("charge")
        self.checkout_sessions = self._table("checkout.session")
        self.credit_notes = self._table("credit_note")
        self.coupons = self._table("coupon")
        self.customers = self._table("customer")
        self.events = self._table("event")
        self.invoice_items = self._table("invoiceitem")
        self.invoices = self._table("invoice")
        self.payment_intents = self._table("payment_intent")
        self.payment_methods = self._table("payment_method")
        self.prices = self._table("price")
        self.products = self._table("product")
        self.refunds = self._table("refund")
        self.subscription_schedules = self._table("subscription_schedule")
        self.promotion_codes = self._table("promotion_code")
        self.subscriptions = self._table("subscription")
        self.test_clocks = self._table("test_helpers.test_clock")
        self.webhook_endpoints = self._table("webhook_endpoint")

    def _table(self, kind: str) -> Table:
        return Table(self._account, kind, self._lock)

    def handle(
        self, method: str, path: str, params: dict[str, Any] | None = None, key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of a call. Raises Dropped where a fault cuts the connection."""
        answer = self.answer(method, path, params, key)
        return answer.status, answer.body

    def answer(self, method: str, path: str, params: dict[str, Any] | None = None, key: str | None = None) -> Answer:
        """As `handle`, with the headers that Stripe sends."""
        params, key = params or {}, key if method == "POST" else None
        request = f"req_{uuid4().hex[:14]}"
        headers = {"Request-Id": request, "Stripe-Version": API_VERSION} | ({"Idempotency-Key": key} if key else {})
        status, replayed = None, False
        try:
            status, body, replayed = self._answer(method, path, params, key, request)
            return Answer(status, body, headers | ({"Idempotent-Replayed": "true"} if replayed else {}))
        finally:
            self.calls.append(Call(method, path, key, params, status, replayed))

    def _answer(
        self, method: str, path: str, params: dict[str, Any], key: str | None, request: str
    ) -> tuple[int, dict[str, Any], bool]:
        fault = self.faults.of_call(method, path)
        kind = fault.kind if fault else None
        if kind == "unreachable":
            raise Dropped
        if kind in ("rate_limit", "lock_timeout"):
            refusal = busy(kind)
            return refusal.status, refusal.body, False
        try:
            with self._lock:
                kept = self._keys.begin(key, path, params, self._account.clock()) if key else None
        except Refused as refused:
            return refused.status, refused.body, False
        if kept:
            return *kept, True
        if self.latency:
            time.sleep(self.latency)
        status, body = 500, failed().body
        try:
            status, body = self._work(method, path, params, Cause(request, key), kind)
        finally:
            if key:
                with self._lock:
                    self._keys.finish(key, status, body)
        if kind == "timeout":
            raise Dropped
        return status, body, False

    def _work(
        self, method: str, path: str, params: dict[str, Any], cause: Cause, fault: str | None
    ) -> tuple[int, dict[str, Any]]:
        try:
            if fault == "failed":
                raise failed()
            if fault == "card_declined":
                raise declined("generic_decline")
            with self._up_to_date() as account:
                route, ids = routes.find(method, path)
                account.cause = cause
                try:
                    body = route.call(account, ids, params)
                finally:
                    account.cause = Cause()
            if fault == "failed_after":
                raise failed()
            return 200, body
        except Refused as refused:
            return refused.status, refused.body

    @contextmanager
    def _up_to_date(self) -> Iterator[Account]:
        """The account, for this thread alone, with everything done that is due by the wall clock."""
        with self._lock:
            self._account.run(None, int(self._account.clock()))
            yield self._account

    def tick(self) -> None:
        """Let everything happen that is due by the wall clock."""
        with self._up_to_date():
            pass

    def complete_checkout(
        self, session: str, payment_method: str = "pm_card_visa", promotion_code: str | None = None
    ) -> str:
        """
        The customer pays on the page, and passes 3-D Secure if the card asks: the id of the new subscription.

        Refused where the card is declined, which leaves the session open.
        """
        with self._up_to_date() as account:
            return checkout.complete(account, session, payment_method, promotion_code)

    def portal_cancel(self, subscription: str) -> None:
        """The customer cancels in the portal. Refused where the page opened last does not offer it."""
        with self._up_to_date() as account:
            portal.cancel(account, subscription)

    def portal_card(self, customer: str, payment_method: str) -> None:
        """The customer gives a new card in the portal. Refused where the page opened last does not offer it."""
        with self._up_to_date() as account:
            portal.put_card(account, customer, payment_method)

    def delete_price(self, price: str) -> None:
        """In the dashboard. Refused where it has been used."""
        with self._up_to_date() as account:
            catalogue.delete_price(account, price)

    def configure(self, **settings: Any) -> None:
        """In the dashboard: from now on. See `Settings`."""
        with self._lock:
            self._account.settings = replace(self._account.settings, **settings)

    def card_behaves(self, payment_method: str, refusal: str | None = None, needs_authentication: bool = False) -> None:
        """
        From now on the bank declines a card that is on file with this code, asks for 3-D Secure each time, or, with
        neither, lets it pass.
        """
        with self._up_to_date() as account:
            payments.behave(account, payment_method, refusal, needs_authentication)

    def pay_on_page(self, invoice: str, payment_method: str | None = None) -> None:
        """
        The customer pays on the page behind `hosted_invoice_url`, and passes 3-D Secure if the card asks: with this
        card, or the one that was tried last. Refused where it is declined.
        """
        with self._up_to_date() as account:
            invoicing.pay_on_page(account, invoice, payment_method)

    def renew_card(self, payment_method: str) -> None:
        """The bank sends a new card, which works, in the place of one that is on file."""
        with self._up_to_date() as account:
            payments.renew(account, payment_method)

    def fault(self, kind: str, **match: Any) -> Fault:
        """Ask for a fault: `method`, `path`, `type` (regular expressions), `times`, `seconds`; see `faults`."""
        return self.faults.add(kind=kind, **match)

    def deliver(self, event: str) -> None:
        """Send an event once more, to every endpoint that takes its type."""
        with self._lock:
            found = self._account.tables["event"].get(event)
            if not found:
                raise missing("event", event)
            for endpoint in self._takers(found):
                self._courier.resend(found, endpoint)

    def saved(self) -> bytes:
        """Every record as it is now, with the keys that have been used and what is to happen by itself."""
        with self._lock:
            return pickle.dumps((self._account.kept(), self._keys))

    def put_back(self, saved: bytes) -> None:
        """All is as it was then. What is under way to an endpoint is not called back."""
        with self._lock:
            kept, self._keys = pickle.loads(saved)
            self._account.become(kept)

    def wait_idle(self, timeout: float = 10.0) -> bool:
        """True once every delivery is done, acknowledged or given up."""
        return self._courier.wait_idle(timeout)

    def close(self) -> None:
        """Stop delivering."""
        self._courier.close()

    def _tell(self, event: Record) -> None:
        for endpoint in self._takers(event):
            self._courier.send(event, endpoint, self.faults.of_webhook)

    def _takers(self, event: Record) -> list[Record]:
        return [
            endpoint
            for endpoint in self._account.all("webhook_endpoint")
            if endpoint["status"] == "enabled"
            and any(events.matches(pattern, event["type"]) for pattern in endpoint["enabled_events"])
        ]
