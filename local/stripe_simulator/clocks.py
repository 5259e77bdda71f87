"""Test clocks: customers whose time stands still until it is advanced, as Stripe's own test clocks do it."""

from typing import Any

from local.stripe_simulator import schedules, subscriptions
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import invalid
from local.stripe_simulator.forms import need, text, whole
from local.stripe_simulator.periods import DAY
from local.stripe_simulator.routes import route

PATH = "/v1/test_helpers/test_clocks"
KIND = "test_helpers.test_clock"
DEPENDENTS = ("invoice", "invoiceitem", "subscription", "subscription_schedule")

OTHERS = (
    "billing_portal.session",
    "charge",
    "checkout.session",
    "credit_note",
    "customer_balance_transaction",
    "discount",
    "payment_intent",
    "payment_method",
    "refund",
    "setup_intent",
    "tax_id",
)


@route("POST", PATH, KIND, {"customer": text, "frozen_time": whole, "name": text})
def create(account: Account, params: dict[str, Any]) -> Record:
    """With `customer`, an existing one moves onto the clock with all that hangs on it, for good."""
    frozen = need(params, "frozen_time")
    customer = account.get("customer", params["customer"], "customer", 400) if params.get("customer") else None
    if customer and customer["test_clock"]:
        raise invalid("This customer is already attached to a test clock.", "customer")
    now = account.now()
    clock: Record = {
        "id": new_id(KIND),
        "object": KIND,
        "created": now,
        "deletes_after": now + 30 * DAY,
        "frozen_time": frozen,
        "livemode": False,
        "name": params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    account.add(clock)
    account.emit("test_helpers.test_clock.created", clock)
    if customer:
        _attach(account, customer, clock)
    return clock


def _attach(account: Account, customer: Record, clock: Record) -> None:
    account.move(customer, clock["id"])
    for kind in DEPENDENTS:
        for record in account.of(kind, customer["id"]):
            record["test_clock"] = clock["id"]
    for subscription in account.of("subscription", customer["id"]):
        subscriptions.follow(account, subscription)
    for schedule in account.of("subscription_schedule", customer["id"]):
        schedules.follow(account, schedule)
    for session in account.of("checkout.session", customer["id"]):
        account.look_at(session, session["expires_at"])
    for invoice in account.of("invoice", customer["id"]):
        account.look_at(invoice, invoice["automatically_finalizes_at"])
        account.look_at(invoice, invoice["next_payment_attempt"])


@route("GET", PATH + "/{test_clock}", KIND)
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get(KIND, id, "test_clock")


@route("GET", PATH, KIND, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    return page(PATH, account.all(KIND), params, lambda clock: True)


@route("POST", PATH + "/{test_clock}/advance", KIND, {"frozen_time": whole})
def advance(account: Account, id: str, params: dict[str, Any]) -> Record:
    """Answers `advancing`; by the next call all has happened, in the order of time, and the clock is `ready`."""
    clock, target = account.get(KIND, id, "test_clock"), need(params, "frozen_time")
    if target <= clock["frozen_time"]:
        raise invalid("The new frozen time must be after the current frozen time.", "frozen_time")
    if target > _farthest(account, clock):
        raise invalid(
            "A test clock cannot be advanced by more than two intervals of its shortest subscription.", "frozen_time"
        )
    with account.changing(clock, "test_helpers.test_clock.advancing"):
        clock.update(status="advancing", status_details={"advancing": {"target_frozen_time": target}})
    answer = dict(clock)
    account.run(id, target)
    with account.changing(clock, "test_helpers.test_clock.ready"):
        clock.update(frozen_time=target, status="ready", status_details={})
    return answer


def _farthest(account: Account, clock: Record) -> int:
    """Two intervals of the shortest subscription on the clock; without any, two years."""
    days = {"day": 1, "week": 7, "month": 31, "year": 366}
    lengths = [
        days[one["price"]["recurring"]["interval"]] * one["price"]["recurring"]["interval_count"]
        for customer in account.of("customer", clock["id"])
        for subscription in account.of("subscription", customer["id"])
        if subscription["status"] not in subscriptions.ENDED
        for one in subscriptions.items(subscription)
    ]
    return clock["frozen_time"] + 2 * min(lengths, default=366) * DAY


@route("DELETE", PATH + "/{test_clock}", KIND)
def delete(account: Account, id: str, params: dict[str, Any]) -> Record:
    """With its customers and all that hangs on them."""
    clock = account.get(KIND, id, "test_clock")
    gone = {customer["id"] for customer in account.of("customer", id)}
    for kind in (*DEPENDENTS, *OTHERS):
        for record in [one for customer in gone for one in account.of(kind, customer)]:
            account.remove(record)
    for customer in gone:
        account.tables["customer"][customer]["deleted"] = True
    account.emit("test_helpers.test_clock.deleted", clock)
    account.remove(clock)
    return {"id": id, "object": KIND, "deleted": True}
