"""Deliveries: events posted to their endpoints, signed, tried again, and disturbed by the faults asked for."""

import heapq
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from threading import Condition, Thread
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from local.stripe_simulator.answers import Record
from local.stripe_simulator.faults import Fault

PATIENCE = 1.0  # how long a reordered event waits for another to overtake it


@dataclass(eq=False)
class Delivery:
    event: Record
    endpoint: Record
    attempt: int = 0
    counts: bool = True  # a duplicate does not count towards `pending_webhooks`
    then: list["Delivery"] = field(default_factory=list)  # those that this one overtakes


class _NoRedirects(HTTPRedirectHandler):
    """A redirect is a failure: Stripe does not follow it."""

    def redirect_request(self, req, fp, code, msg, headers, newurl) -> None: ...


class Courier:
    """
    Delivers in the background, in threads that start with the first delivery.

    `delays` are the seconds before each retry; after the last the event stays
    unacknowledged. `timeout` is how long an endpoint may take.
    """

    def __init__(self, delays: tuple[float, ...], timeout: float, workers: int) -> None:
        self._delays, self._timeout, self._workers = delays, timeout, workers
        self._due: list[tuple[float, int, Delivery]] = []
        self._order = count()
        self._overtaken: dict[str, Delivery] = {}  # by endpoint: waits for the next event
        self._busy = 0
        self._changed = Condition()
        self._threads: list[Thread] = []
        self._closed = False
        self._open = build_opener(_NoRedirects).open

    def send(self, event: Record, endpoint: Record, fault_of: Callable[[str], Fault | None]) -> None:
        """Queue an event for an endpoint, with the fault that is waiting for its type, if any."""
        fault, delivery = fault_of(event["type"]), Delivery(event, endpoint)
        kind = fault.kind if fault else None
        with self._changed:
            event["pending_webhooks"] += 1
            if kind == "drop":
                return
            if kind == "reorder":
                self._overtaken[endpoint["id"]] = delivery
                self._queue(delivery, PATIENCE)
                return
            overtaken = self._overtaken.pop(endpoint["id"], None)
            if overtaken and self._withdraw(overtaken):
                delivery.then.append(overtaken)
            self._queue(delivery, fault.seconds if fault and kind == "delay" else 0.0)
            if kind == "duplicate":
                self._queue(Delivery(event, endpoint, counts=False), 0.0)

    def resend(self, event: Record, endpoint: Record) -> None:
        with self._changed:
            self._queue(Delivery(event, endpoint), 0.0)

    def _queue(self, delivery: Delivery, delay: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay, next(self._order), delivery))
        if not self._threads and not self._closed:
            self._threads = [Thread(target=self._work, daemon=True) for _ in range(self._workers)]
            for thread in self._threads:
                thread.start()
        self._changed.notify_all()

    def _withdraw(self, delivery: Delivery) -> bool:
        """Take a delivery back that nobody has begun."""
        kept = [entry for entry in self._due if entry[2] is not delivery]
        found = len(kept) < len(self._due)
        heapq.heapify(kept)
        self._due = kept
        return found

    def _work(self) -> None:
        while delivery := self._next():
            acknowledged = self._post(delivery)
            with self._changed:
                self._busy -= 1
                if acknowledged:
                    if delivery.counts and delivery.event["pending_webhooks"]:
                        delivery.event["pending_webhooks"] -= 1
                elif delivery.attempt < len(self._delays) and delivery.counts:
                    delay = self._delays[delivery.attempt]
                    delivery.attempt += 1
                    self._queue(delivery, delay)
                for overtaken in delivery.then:
                    self._queue(overtaken, 0.0)
                delivery.then = []
                self._changed.notify_all()

    def _next(self) -> Delivery | None:
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._busy += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None

    def _post(self, delivery: Delivery) -> bool:
        body = json.dumps(delivery.event, indent=2).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(body, delivery.endpoint["secret"], int(time.time())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        request = Request(delivery.endpoint["url"], body, headers, method="POST")
        try:
            with self._open(request, timeout=self._timeout) as answer:
                return 200 <= answer.status < 300
        except (URLError, OSError, ValueError):
            return False

    def wait_idle(self, timeout: float) -> bool:
        """True once nothing is queued or under way."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._due and not self._busy, timeout)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify_all()


def signature(body: bytes, secret: str, at: int) -> str:
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()
    return f"t={at},v1={signed}"
