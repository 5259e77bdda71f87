"""`make mails`: every mail that may be sent, in every language, written to build/mails to be looked at."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from local.contract import (
    Case,
    Customer,
    Found,
    Invoice,
    Plan,
    Profile,
    Schedule,
    Theirs,
    Upcoming,
    letters,
    mails,
    taken_up,
    wording,
)

FOLDER = Path("build/mails")
DAY = 86_400
AT = 1_795_478_400  # 2026-11-24T00:00:00Z
SETTINGS = {
    "MAIL_FROM": "billing@example.com",
    "MAIL_REPLY_TO": "help@example.com",
    "MAIL_NAME": "Acme",
    "MAIL_COLOUR": "#1f5f8b",
    "MAIL_FOOTER": "Acme Ltd, 1 Example Street, Exampleton",
}
PAGE = "https://app.example.com/billing"

TEAM = Plan("team", 1, "Team", "month", "eur", 2000, price="price_team", grace_days=10)
PRO = replace(TEAM, slug="pro", name="Pro", price="price_pro")
NAMES = {("team", 1): "Team", ("pro", 1): "Pro", ("pro", 2): "Pro"}
PERIOD = AT - 20 * DAY, AT + 10 * DAY
THEIRS = Theirs("sub_1", "cus_1", "si_1", "price_team", 5, "eur", "active", PERIOD[0], PERIOD[0], *PERIOD)
TRIAL = replace(THEIRS, status="trialing", trial_ends_at=AT + 3 * DAY)
OPEN = Invoice(
    id="in_1",
    customer="cus_1",
    subscription="sub_1",
    status="open",
    reason="subscription_cycle",
    currency="eur",
    created=AT - 5 * DAY,
    total_cents=123_450,
    amount_due_cents=123_450,
    amount_paid_cents=0,
    attempt_count=0,
    number="ACME-0042",
    next_attempt_at=AT + 2 * DAY,
    remaining_cents=123_450,
    links={"hosted_invoice_url": "https://invoice.stripe.com/i/acct_1/test_1?s=ap"},
)
PAID = replace(OPEN, status="paid", amount_paid_cents=123_450, remaining_cents=0, next_attempt_at=None)
VOID = replace(OPEN, status="void", next_attempt_at=None)
CASE = Case(
    invoice="in_1",
    subscription="sub_1",
    reason="subscription_cycle",
    created=AT - 5 * DAY,
    since=AT - 5 * DAY,
    begun=AT - 5 * DAY,
    days=[0, 3, 5, 7, 14],
    ends="end_access",
    amount_due_cents=123_450,
    currency="eur",
    problem="declined",
    next_attempt_at=AT + 2 * DAY,
    taken=1,
)
COMING = Upcoming("eur", AT + 3 * DAY, [], 6000, 0, 1140, 7140, 0, 7140, [])


class Sample(NamedTuple):
    name: str  # kind, and which of its kind
    type: str
    data: dict
    found: Found

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]


def samples() -> Iterator[Sample]:
    """At least one of every kind, and one of everything that a kind may say."""
    yield from _dunning()
    yield from _subscriptions()
    yield from _others()


def write(sample: Sample, locale: str) -> letters.Letter:
    about = mails.about(sample.kind, sample.type, sample.data, sample.found, PAGE, locale, AT)
    return letters.write(sample.kind, locale, about)


def _dunning() -> Iterator[Sample]:
    first, later, last_but_one = CASE, replace(CASE, taken=2), replace(CASE, taken=4)
    ended = replace(CASE, taken=5, next_attempt_at=None)
    told = {"first": first, "later": later, "last-but-one": last_but_one}
    told["access-ended"] = replace(ended, outcome="access_ended")
    told["cancelled"] = replace(ended, ends="cancel", outcome="canceled")
    told["free-plan"] = replace(ended, ends="free_plan", outcome="free_plan")
    owing = _bought(replace(THEIRS, status="past_due"), [CASE])
    for problem, kind in mails.BY_PROBLEM.items():
        for name, case in told.items():
            found = owing._replace(invoice=VOID if case.outcome == "free_plan" else OPEN)
            yield Sample(f"{kind}-{name}", "dunning.step_taken", replace(case, problem=problem).public(), found)
    recovered = replace(CASE, outcome="paid").public()
    yield Sample("payment_recovered", "dunning.ended", recovered, _bought(THEIRS)._replace(invoice=PAID))


def _subscriptions() -> Iterator[Sample]:
    coming = Schedule("sub_sched_1", None, "price_pro", 3, PERIOD[1])
    yield _told("trial_ending", TRIAL, type="subscription.trial_ending", upcoming=COMING)
    yield _told("trial_ending-cancelled", replace(TRIAL, cancel_at_period_end=True), type="subscription.trial_ending")
    on_trial = {"status": "trialing"}
    yield _told("trial_ended", THEIRS, on_trial)
    yield _told("trial_ended-paused", replace(THEIRS, status="paused"), on_trial)
    yield _told("trial_ended-unpaid", replace(THEIRS, status="past_due"), on_trial)
    ends = replace(THEIRS, cancel_at_period_end=True)
    yield _told("subscription_cancelled", ends, {"cancel_at_period_end": False})
    over = replace(THEIRS, status="canceled", ended_at=AT)
    yield _told("subscription_cancelled-ended", over, {"status": "active"}, type="subscription.ended")
    paused = replace(THEIRS, collection_paused=True)
    yield _told("subscription_paused", paused, {"collection_paused": False})
    until = replace(paused, resumes_at=AT + 40 * DAY)
    yield _told("subscription_paused-until", until, {"collection_paused": False})
    yield _told("subscription_changed-plan", replace(THEIRS, price="price_pro"), {"plan": "team", "seats": 3})
    yield _told("subscription_changed-seats", THEIRS, {"seats": 3})
    yield _told("subscription_changed-to-come", replace(THEIRS, schedule=coming), {"scheduled_change": None})
    yield _told("subscription_changed-withdrawn", THEIRS, {"scheduled_change": {}})
    yield _told("subscription_changed-goes-on", THEIRS, {"cancel_at_period_end": True})


def _others() -> Iterator[Sample]:
    ada = _bought(THEIRS)
    period = {"period_start": "2026-11-03T20:00:00Z", "period_end": "2026-12-03T20:00:00Z"}
    for percent in (80, 100):
        used = {"metric": "api_calls", "percent": percent, "limit": 1_000_000, "used": percent * 10_000}
        yield Sample(f"usage_threshold-{percent}", "usage.threshold_reached", used | period, ada)
    for name, free in (("charged", False), ("free", True)):
        stated = [
            {
                "metric": metric,
                "number": 0,
                "quantity": quantity,
                "amount_cents": cents,
                "due_cents": cents,
                "free": free,
            }
            for metric, quantity, cents in (("api_calls", 1_234_567, 4321), ("exports", 12, 0))
        ]
        data = {"subscription": "sub_1", "start": period["period_start"], "end": period["period_end"]}
        data |= {"currency": "eur", "statements": stated}
        yield Sample(f"usage_statement-{name}", "usage.period_closed", data, ada)
    for name, invoice in (("open", OPEN), ("paid", PAID)):
        data = invoice.public() | {"new": True}
        yield Sample(f"invoice_ready-{name}", "invoice.finalized", data, ada._replace(invoice=invoice))
    expires = {"subscription": "sub_1", "expires": "2026-12", "days": 30}
    yield Sample("card_expiring", "payment_method.expiring", expires, _bought(replace(THEIRS, card_expires="2026-12")))


def _bought(theirs: Theirs, cases: list[Case] | None = None) -> Found:
    plan = PRO if theirs.price == "price_pro" else TEAM
    subscription = taken_up(theirs, plan, AT, PRO if theirs.schedule else None).owing(cases or [])
    profile = Profile(email="ada@example.com", name="Ada Lovelace")
    ours = Customer("ada", AT, AT, stripe_id="cus_1", profile=profile, subscription=subscription, cases=cases or [])
    return Found(ours, plan, NAMES)


def _told(name: str, theirs: Theirs, was: dict | None = None, type: str = "subscription.updated", **known) -> Sample:
    found = _bought(theirs)._replace(**known)
    data = found.ours.bought().public(found.plan, AT)
    return Sample(name, type, data | ({"was": was, "changed": list(was)} if was is not None else {}), found)


def main() -> None:
    os.environ.update(SETTINGS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    written = 0
    for sample in samples():
        for locale in sorted(wording.LOCALES):
            letter = write(sample, locale)
            (FOLDER / f"{locale}-{sample.name}.html").write_text(letter.html)
            (FOLDER / f"{locale}-{sample.name}.txt").write_text(f"Subject: {letter.subject}\n\n{letter.text}")
            written += 1
    sys.stdout.write(f"{written} mails in {FOLDER}/\n")


if __name__ == "__main__":
    main()
