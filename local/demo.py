"""
`make demo`: a customer's life on a fresh stack, told as it happens. Every answer is checked; the first wrong one
ends it.

Ada's Stripe lives in the time of one of Stripe's own test clocks, and nothing here touches the simulator's controls:
with STRIPE_API_BASE, STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET in the environment the same journey runs in Stripe's
test mode.
"""

import json
import logging
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.client import HTTPConnection
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from stripe import StripeClient

from local.outside import Listener, fire, listening, mails
from local.stack import Stack, local_stack, other_stripe

HOUR, DAY = 3600, 86_400
BEGAN_DAYS_AGO = 12  # so that today lies within her first month, and a change has a part of it to prorate
PATIENCE_S = 60  # for what Stripe tells by webhook
WIDTH = 116
INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)T[\d:]+Z")
ADA = f"ada-{token_hex(2)}"  # another Stripe may remember the Ada of an earlier run
EMAIL = f"{ADA}@example.com"

MONTHLY = {"billing_interval": "month", "currency": "usd", "metrics": {"api_calls": {}}}
PLANS = {
    "free": {"name": "Free", "base_price_cents": 0, "limits": {"max_api_calls": 100}},
    "team": {"name": "Team", "base_price_cents": 2000, "price_per_seat_cents": 1000, "included_seats": 1}
    | {"features": ["reports"], "limits": {"max_api_calls": 1000}},
    "pro": {"name": "Pro", "base_price_cents": 10_000, "price_per_seat_cents": 1500, "included_seats": 3}
    | {"features": ["reports", "sso"], "limits": {"max_api_calls": 50_000}},
}


class Wrong(Exception):
    """An answer that is not the expected one."""


class Tale:
    """Asks, checks, and writes down what was said: of the answers what was looked at, and never a secret."""

    def __init__(self, stack: Stack, listener: Listener):
        self.stack, self.listener = stack, listener
        self.api, self.requests = urlsplit(stack.api_url), 0
        self.connection = HTTPConnection(self.api.netloc, timeout=40)
        self.tokens = {
            "anyone": "",
            "Ada": stack.token(ADA),
            "backend": stack.token("backend", "billing/service"),
            "operator": stack.token("operator", "billing/admin"),
            "all": stack.token("nobody", "billing/admin billing/service"),
        }
        self.stripe = StripeClient(stack.stripe.api_key, base_addresses={"api": stack.stripe_base}).v1
        self.clock = ""
        self.customer = self.subscription = ""  # as Stripe calls them

    def ask(self, who: str, method: str, path: str, body: Any = None, *, see: dict[str, Any], said: str = "") -> Any:
        """`see`: what the answer is to say, by dotted path (`*`: of each); `...` is anything but nothing.

        `said`: the body in short.
        """
        began = time.monotonic()
        status, answer = self._send(who, method, path, body)
        return self._tell(who, f"{method:<4} {path}", said or _plain(body or ""), status, answer, began, see)

    def hear(self, path: str, *, see: dict[str, Any], of: Callable[[Any], Any] = lambda answer: answer) -> Any:
        """
        Ada asks until it is so: Stripe has to tell us first, by webhook; of its invoices it is asked itself. `of`
        picks a part of the answer.
        """
        how = "" if path == "/invoices" else "by webhook"
        began = time.monotonic()
        while True:
            status, answer = self._send("Ada", "GET", path)
            part = of(answer) if status == 200 else answer
            late = time.monotonic() > began + PATIENCE_S
            if late or (status == 200 and not _differences(part, see)):
                return self._tell("Ada", f"GET  {path}", "", status, part, began, see, how)
            time.sleep(0.05)

    def true(self, sentence: str, so: bool, *values: Any) -> None:
        if not so:
            raise Wrong(f"not so: {sentence} ({', '.join(map(str, values))})")
        say(f"{'':19}{green('✓')} {sentence}")

    def at_stripe(self, what: str, date: str = "") -> None:
        say(f"{date:9}{'Stripe':<9} {what}")

    def until(self, at: int, why: str) -> None:
        """Let Ada's time pass."""
        clocks = self.stripe.test_helpers.test_clocks
        clocks.advance(self.clock, {"frozen_time": at})
        deadline = time.monotonic() + PATIENCE_S
        while (status := clocks.retrieve(self.clock).status) != "ready":
            if time.monotonic() > deadline:
                raise Wrong(f"Stripe's test clock is still {status}")
            time.sleep(0.5)
        self.at_stripe(f"its test clock is advanced: {why}", _date(at))

    def pay_with(self, card: str) -> None:
        """As Stripe's own pages would: a new card, for this subscription from now on."""
        method = self.stripe.payment_methods.attach(card, {"customer": self.customer})
        self.stripe.subscriptions.update(self.subscription, {"default_payment_method": method.id})
        self.at_stripe(f"her card is {card} now")

    def reads(self, kind: str, says: str) -> None:
        """Ada's newest mail, of the local SES, has that in its subject."""
        self._until(lambda: any(says in each["Subject"] for each in mails(self.stack, EMAIL)), f"a mail of {says!r}")
        mail = next(each for each in reversed(mails(self.stack, EMAIL)) if says in each["Subject"])
        say(f"{'':9}{'Ada':<9} gets a mail: {bold(mail['Subject'])}  {dim(kind)}")

    def goes_off(self, what: str, **about: str) -> None:
        """A schedule of EventBridge Scheduler, whose time has come for Ada: here no clock but hers is put forward."""
        self._until(lambda: fire(self.stack, customer=ADA, **about), f"a schedule of {about}")
        say(f"{'':9}{'Scheduler':<9} {what}")

    def heard(self) -> list[dict]:
        """What has come over the bus, in sequence, when there is no gap any more and nothing more comes."""
        path = f"/customers/{ADA}/events?limit=100"

        def whole() -> bool:
            _, told = self._send("backend", "GET", path)
            known = self.listener.heard(ADA)
            return [each["sequence"] for each in told["events"]] == sorted(known) and not told["next"]

        self._until(whole, "all events on the bus")
        return [each for _, each in sorted(self.listener.heard(ADA).items())]

    def _until(self, so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not so():
            if time.monotonic() > deadline:
                raise Wrong(f"not in {PATIENCE_S} s: {what}")
            time.sleep(0.1)

    def _send(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {self.tokens[who]}"} if self.tokens[who] else {}
        self.connection.request(method, self.api.path + path, json.dumps(body) if body is not None else None, headers)
        with self.connection.getresponse() as answer:
            text = answer.read()
        self.requests += 1
        return answer.status, json.loads(text) if text else None

    def _tell(
        self,
        who: str,
        asked: str,
        said: str,
        status: int,
        answer: Any,
        began: float,
        see: dict[str, Any],
        how: str = "",
    ) -> Any:
        took, wanted = f"{(time.monotonic() - began) * 1000:5.0f} ms", see.get("", 200)
        differences = _differences(answer, see) if status == wanted else [f"status: expected {wanted}"]
        room = WIDTH - 21 - len(asked)
        short = said if len(said) <= room else said[: room - 1] + "…"
        seen = [f"{dim(name.split('.')[-1])} {_plain(_at(answer, name))}" for name in see if name]
        say(f"{'':9}{who:<9} {bold(asked)}  {dim(short)}")
        say(f"{'':19}{(red if differences else green)(str(status))} {dim(took)}  {'   '.join([*seen, dim(how)])}")
        if differences:
            came = f"{status} {json.dumps(_discreet(answer))}"
            raise Wrong(f"{' '.join(asked.split())}: {'; '.join(differences)}\nwhat came: {came}")
        return answer


def on_sale(tale: Tale) -> None:
    """Three plans go on sale."""
    for slug, plan in PLANS.items():
        see = {"name": plan["name"], "base_price_cents": plan["base_price_cents"], "version": 1}
        tale.ask("operator", "PUT", f"/plans/{slug}", plan | MONTHLY, see=see)
    tale.ask("anyone", "GET", "/plans", see={"plans.*.slug": ["free", "pro", "team"]})


def signs_up(tale: Tale) -> None:
    """Ada signs up. She has bought nothing yet, so she has the free plan."""
    tale.ask("Ada", "PUT", "/customer", {"email": EMAIL, "name": "Ada Lovelace"}, see={"name": "Ada Lovelace"})
    [theirs] = tale.stripe.customers.list({"email": EMAIL}).data
    began = int(time.time()) - BEGAN_DAYS_AGO * DAY
    tale.clock = tale.stripe.test_helpers.test_clocks.create({"frozen_time": began, "customer": theirs.id}).id
    tale.customer = theirs.id
    tale.at_stripe("she lives in the time of a test clock", _date(began))
    tale.ask("Ada", "GET", "/entitlements", see={"plan": "free", "access": True, "reason": "no_subscription"})
    tale.ask("Ada", "GET", "/entitlements/reports", see={"allowed": False, "reason": "not_in_plan"})


def subscribes(tale: Tale) -> None:
    """She subscribes to Team, with five seats."""
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    bought = {"plan": "team", "status": "active", "seats": 5, "access": True, "current_period_end": ...}
    told = tale.ask("Ada", "POST", "/subscription", order, see=bought)
    tale.subscription = told["id"]
    tale.ask("Ada", "POST", "/subscription", order, see={"id": told["id"], "seats": 5})
    tale.true("clicking twice buys once", len(tale.stripe.subscriptions.list({"customer": tale.customer}).data) == 1)
    tale.hear("/invoices", see={"invoices.*.status": ["paid"], "invoices.*.total_cents": [2000 + 4 * 1000]})


def uses(tale: Tale) -> None:
    """The backend counts what she uses. What it sends twice counts once."""
    recorded = {"events.*.status": ["recorded"] * 3}
    _used(
        tale,
        [("call-1", 120), ("call-2", 80), ("call-1", 120)],
        recorded | {"events.*.duplicate": [False, False, True]},
    )
    _used(
        tale, [("call-2", 80), ("call-3", 50), ("call-1", 120)], recorded | {"events.*.duplicate": [True, False, True]}
    )
    tale.ask("Ada", "GET", "/usage?metric=api_calls", see={"used": 120 + 80 + 50, "limit": 1000, "remaining": 750})
    _used(tale, [("call-4", 751)], {"events.*.status": ["over_limit"], "events.*.used": [250]})


def _used(tale: Tale, calls: list[tuple[str, int]], see: dict[str, Any]) -> None:
    of = {"customer_id": ADA, "metric_id": "api_calls"}
    events = [of | {"idempotency_key": key, "quantity": quantity} for key, quantity in calls]
    said = "api_calls: " + ", ".join(f"{key} {quantity}" for key, quantity in calls)
    tale.ask("backend", "POST", "/usage", {"events": events}, see=see, said=said)


def may(tale: Tale) -> None:
    """The product asks what she may do."""
    ours = f"/customers/{ADA}/entitlements"
    tale.ask("backend", "GET", f"{ours}/reports", see={"allowed": True, "reason": "in_plan"})
    tale.ask("backend", "GET", f"{ours}/sso", see={"allowed": False, "reason": "not_in_plan"})
    left = {"allowed": True, "limit": 1000, "used": 250, "remaining": 750}
    tale.ask("backend", "GET", f"{ours}/api_calls", see=left)


def grows(tale: Tale) -> None:
    """Her team grows: three more seats, paid today for the rest of the month."""
    tale.until(int(time.time()), f"{BEGAN_DAYS_AGO} days have passed")
    _changed(tale, "seats", {"quantity": 8}, {"seats": 8})


def upgrades(tale: Tale) -> None:
    """She asks what Pro would cost, and upgrades at that price. What is left of Team is credited."""
    see = {"effective": "now", "net_cents": ..., "due_now_cents": ..., "next_invoice_cents": 10_000 + 5 * 1500}
    quote = tale.ask("Ada", "POST", "/subscription/quote", {"plan_slug": "pro"}, see=see)
    choice = {"plan_slug": "pro", "quote_id": quote["quote_id"]}
    told = _changed(tale, "plan", choice, {"plan": "pro", "seats": 8})
    net = told["proration"]["net_cents"]
    tale.true("the invoice is what was quoted", net == quote["net_cents"] == quote["due_now_cents"], net)
    again = {"": 409, "code": "quote_used"}
    tale.ask("Ada", "PUT", "/subscription/plan", choice | {"quantity": 9}, see=again, said="the same quote again")
    for line in told["proration"]["lines"]:
        say(f"{'':19}  {line['amount_cents']:>7}  {dim(line['description'])}")
    tale.ask("Ada", "GET", "/entitlements/sso", see={"allowed": True, "reason": "in_plan"})
    _used(tale, [("call-4", 751)], {"events.*.status": ["recorded"], "events.*.duplicate": [False]})
    tale.ask("Ada", "GET", "/entitlements/api_calls", see={"limit": 50_000, "used": 1001, "remaining": 48_999})


def _changed(tale: Tale, what: str, body: dict, becomes: dict) -> Any:
    cents = [f"proration.{each}_cents" for each in ("credit", "charge", "net")]
    see = becomes | {"billed": "now"} | dict.fromkeys(cents, ...)
    told = tale.ask("Ada", "PUT", f"/subscription/{what}", body, see=see)
    credit, charge, net = (_at(told, name) for name in cents)
    tale.true(f"the charge exceeds the credit: {charge} - {credit} = {net} cents", charge - credit == net > 0)
    total = sum(line["amount_cents"] for line in told["proration"]["lines"])
    tale.true("its lines add up", total == net, total, net)
    billed = _invoice("subscription_update", net)
    tale.hear(
        "/invoices", of=billed, see={"reason": ..., "status": "paid", "total_cents": net, "amount_paid_cents": net}
    )
    return told


def plans_ahead(tale: Tale) -> None:
    """From next month on fewer seats will do: less takes effect when what is paid for is over."""
    to_come = {"scheduled_change.plan": "pro", "scheduled_change.seats": 4, "scheduled_change.effective_at": ...}
    tale.ask("Ada", "PUT", "/subscription/seats", {"quantity": 4}, see={"seats": 8} | to_come)
    total = 10_000 + 1 * 1500
    tale.ask("Ada", "GET", "/invoices/upcoming", see={"at": ..., "total_cents": total})


def renews(tale: Tale) -> None:
    """A month passes, and Stripe renews."""
    end = _end(tale)
    tale.until(end + 2 * HOUR, "her month is over; the invoice was a draft for an hour")
    see = {"status": "active", "seats": 4, "scheduled_change": None, "current_period_start": _stamp(end)}
    tale.hear("/subscription", see=see)
    total = 10_000 + 1 * 1500
    see = {"reason": "subscription_cycle", "status": "paid", "total_cents": total, "amount_paid_cents": total}
    tale.hear("/invoices", of=_invoice("subscription_cycle", total), see=see)


def fails(tale: Tale) -> None:
    """Her card fails. She keeps her access for the days of grace, and changes nothing meanwhile."""
    tale.pay_with("pm_card_chargeCustomerFail")
    tale.until(_end(tale) + 2 * HOUR, "another month")
    tale.hear("/subscription", see={"status": "past_due", "access": True, "access_reason": "grace"})
    tale.ask("Ada", "GET", "/entitlements/sso", see={"allowed": True, "reason": "in_plan"})
    tale.ask("Ada", "PUT", "/subscription/seats", {"quantity": 20}, see={"": 422, "code": "not_changeable"})
    owed = {"dunning.invoices.*.problem": ["declined"], "dunning.invoices.*.amount_due_cents": [10_000 + 1 * 1500]}
    owed |= {"dunning.grace_ends_at": ..., "dunning.next_attempt_at": ..., "dunning.next_step_at": ...}
    tale.hear("/subscription", see=owed)
    tale.reads("payment_failed", "did not go through")


def is_reminded(tale: Tale) -> None:
    """Three days later it is still not paid. Stripe's retries charge; our steps speak."""
    _, told = tale._send("Ada", "GET", "/subscription")
    due = int(datetime.fromisoformat(told["dunning"]["next_step_at"]).timestamp())
    tale.until(due, "three days")
    tale.goes_off("the second step of dunning is due", kind="dunning", step="1")
    tale.hear("/subscription", see={"access": True, "dunning.invoices.*.step": [1]})
    tale.reads("payment_failed", "is still unpaid")


def pays(tale: Tale) -> None:
    """She gives another card, and what she owes is tried with it at once."""
    [owed] = tale._send("Ada", "GET", "/subscription")[1]["dunning"]["invoices"]
    tale.pay_with("pm_card_mastercard")
    tale.hear("/subscription", see={"status": "active", "access": True, "access_reason": "active"})
    paid = {"status": "paid", "amount_paid_cents": owed["amount_due_cents"]}
    tale.hear("/invoices", of=lambda all: _first(all, id=owed["invoice"]), see=paid)
    tale.hear("/subscription", see={"status": "active", "dunning": None})
    tale.reads("payment_recovered", "has arrived")


def pauses(tale: Tale) -> None:
    """She pauses: no money is taken, and the plan says there is no access. And goes on."""
    see = {"status": "active", "collection_paused": True, "access": False, "access_reason": "paused"}
    tale.ask("Ada", "POST", "/subscription/pause", see=see)
    tale.ask("Ada", "GET", "/entitlements/sso", see={"allowed": False})
    tale.ask("Ada", "POST", "/subscription/resume", see={"collection_paused": False, "access": True})


def is_offered(tale: Tale) -> None:
    """She is about to leave, and is offered half the price. It is off her next invoice."""
    coupon = tale.stripe.coupons.create({"percent_off": 50, "duration": "forever"})
    code = f"STAY{token_hex(3)}".upper()
    tale.stripe.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": code})
    tale.at_stripe("a promotion code is made")
    see = {"discounts.*.promotion_code": [code], "discounts.*.duration": ["forever"]}
    tale.ask("Ada", "PUT", "/subscription/discount", {"promotion_code": code}, see=see)
    tale.ask("Ada", "GET", "/invoices/upcoming", see={"total_cents": (10_000 + 1 * 1500) // 2})


def looks_at_pages(tale: Tale) -> None:
    """Stripe's own pages: the portal for her card, and for Bob a page to subscribe on."""
    home = "https://localhost/billing"
    portal = tale.ask("Ada", "POST", "/portal", {"return_url": home}, see={}, said="return_url")
    tale.true("there is a page for her, whose address is written nowhere", bool(portal["url"]))
    away = {"": 422, "code": "return_url_refused"}
    tale.ask("Ada", "POST", "/portal", {"return_url": "https://evil.example"}, see=away)
    order = {"plan_slug": "team", "quantity": 3, "success_url": home, "cancel_url": home}
    page = f"/customers/bob-{ADA}/checkout"
    opened = tale.ask("backend", "POST", page, order, see={"expires_at": ...}, said="plan_slug team …")
    again = tale.ask("backend", "POST", page, order, see={}, said="the same again")
    tale.true("it is the same page", opened["url"] == again["url"] and bool(again["url"]))


def cancels(tale: Tale) -> None:
    """She cancels, at the end of what she has paid for."""
    see = {"status": "active", "cancel_at_period_end": True, "access": True, "current_period_end": ...}
    tale.ask("Ada", "POST", "/subscription/cancel", see=see)


def ends(tale: Tale) -> None:
    """The month ends. What she had was hers until now; she is back on the free plan."""
    tale.until(_end(tale) + 2 * HOUR, "the last month is over")
    tale.hear("/entitlements", see={"plan": "free", "access": True, "reason": "canceled"})
    tale.ask("Ada", "GET", "/entitlements/reports", see={"allowed": False, "reason": "not_in_plan"})
    tale.ask("Ada", "GET", "/subscription", see={"": 404, "code": "not_found"})


def is_known(tale: Tale) -> None:
    """All of it came over the bus, in sequence and without a gap."""
    told = tale.heard()
    tale.true(
        f"{len(told)} events, 1 to {told[-1]['sequence']}",
        [each["sequence"] for each in told] == list(range(1, len(told) + 1)),
    )
    counts = Counter(each["type"] for each in told)
    for type in sorted(counts):
        say(f"{'':19}  {counts[type]:>7}  {dim(type)}")
    dunned = [each["type"] for each in told if each["type"].startswith("dunning")]
    tale.true(
        "dunning began, spoke twice and ended",
        dunned == ["dunning.started", *["dunning.step_taken"] * 2, "dunning.ended"],
        dunned,
    )


STEPS = (on_sale, signs_up, subscribes, uses, may, grows, upgrades, plans_ahead, renews, fails, is_reminded, pays)
STEPS += (pauses, is_offered, looks_at_pages, cancels, ends, is_known)


def warm(tale: Tale) -> None:
    """
    A Lambda's first call starts a process: together they start sooner than one by one. Each of these is refused
    before anything is read, for what functions have read of the plans they remember.
    """
    customer = ("/subscription", "/invoices", "/usage", "/entitlements", "/entitlements/-")
    routes = [("POST", "/usage"), ("PUT", "/plans/-"), ("POST", "/webhooks/stripe"), ("PUT", "/customer")]
    routes += [("POST", "/subscription"), ("PUT", "/subscription/seats"), ("PUT", "/subscription/plan")]
    routes += [
        ("POST", "/subscription/quote"),
        ("PUT", "/subscription/discount"),
        ("POST", "/checkout"),
        ("POST", "/portal"),
    ]
    routes += [("POST", "/subscription/cancel"), ("POST", "/subscription/pause"), ("GET", "/invoices/upcoming")]
    routes += [("GET", path) for path in customer]
    headers = {"authorization": f"Bearer {tale.tokens['all']}"}

    def knock(route: tuple[str, str]) -> None:
        method, path = route
        connection = HTTPConnection(tale.api.netloc, timeout=40)
        connection.request(method, tale.api.path + path, None if method == "GET" else "[]", headers)
        connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(knock, routes))


def tell(tale: Tale) -> None:
    for step in STEPS:
        say(f"\n{'':9}{bold(step.__doc__ or '')}")
        step(tale)


def main() -> None:
    logging.basicConfig(stream=sys.stdout, format=f"{'':9}%(message)s")
    logging.getLogger("local").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    began = time.monotonic()
    say(f"\n{'':9}{bold('Tollgate: a customer and her subscription, on a fresh stack')}")
    try:
        mailing = {"MailFrom": "billing@acme.example", "MailName": "Acme"}
        with local_stack(other_stripe(), DefaultPlan="free", **mailing) as stack, listening(stack) as listener:
            tale = Tale(stack, listener)
            if not stack.stripe.simulator and sys.stdin.isatty():
                input(f"\n{'':9}stripe listen --forward-to {stack.webhook_url}\n{'':9}Enter when it listens: ")
            warmed = time.monotonic()
            warm(tale)
            say(f"{'':9}warm in {time.monotonic() - warmed:.1f} s")
            tell(tale)
        say(f"\n{'':9}{green('✓')} All as it should be: {tale.requests} requests, {time.monotonic() - began:.1f} s.\n")
    except Wrong as wrong:
        sys.exit(f"\n{red('✗')} {wrong}")
    except KeyboardInterrupt:
        say("\nstopped")
        sys.exit(130)


def _invoice(reason: str, total: int, status: str = "") -> Callable[[Any], Any]:
    wanted = {"reason": reason, "total_cents": total} | ({"status": status} if status else {})
    return lambda answer: _first(answer, **wanted)


def _first(answer: Any, **wanted: Any) -> dict:
    return next((each for each in answer["invoices"] if wanted.items() <= each.items()), {})


def _end(tale: Tale) -> int:
    """When what she has paid for ends, as we say."""
    _, told = tale._send("Ada", "GET", "/subscription")
    return int(datetime.fromisoformat(told["current_period_end"]).timestamp())


def _differences(answer: Any, see: dict[str, Any]) -> list[str]:
    found = {name: (wanted, _at(answer, name)) for name, wanted in see.items() if name}
    return [
        f"{name}: expected {'something' if wanted is ... else json.dumps(wanted)}, came {json.dumps(came)}"
        for name, (wanted, came) in found.items()
        if (came is None if wanted is ... else came != wanted)
    ]


def _at(answer: Any, path: str) -> Any:
    """What stands there; None if nothing does."""
    name, _, rest = path.partition(".")
    if name == "*":
        return [_at(each, rest) if rest else each for each in answer] if isinstance(answer, list) else None
    found = answer.get(name) if isinstance(answer, dict) else None
    return _at(found, rest) if rest else found


def _discreet(answer: Any) -> Any:
    """Without what opens something: what confirms a payment, and Stripe's pages."""
    if isinstance(answer, dict):
        hidden = ("payment", "hosted_invoice_url", "invoice_pdf", "url")
        return {name: "…" if name in hidden else _discreet(each) for name, each in answer.items()}
    return [_discreet(each) for each in answer] if isinstance(answer, list) else answer


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return INSTANT.sub(r"\1", value) if isinstance(value, str) else json.dumps(value)


def _stamp(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _date(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%_d %b}"


def say(line: str) -> None:
    print(line.rstrip(), flush=True)


COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _ansi(code: int) -> Callable[[str], str]:
    return lambda text: f"\033[{code}m{text}\033[0m" if COLOUR and text else text


bold, dim, red, green = map(_ansi, (1, 2, 31, 32))

if __name__ == "__main__":
    main()
