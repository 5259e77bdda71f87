"""
Closing a period: its totals are stated as they stand, once, and what a statement comes to is billed at Stripe, once.

A statement and the mark on its total are one transaction, made only of the very events that the total has; what comes
later is of the next statement, whose amount is billed less what was billed before. Stripe is looked at before it is
told, by the statement's mark.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from billing import customer_table, dynamodb, gateway, overage, plan_table, scheduler, statement_table, usage_table
from billing.api import alarmed, counted, logger
from billing.closings import Closing
from billing.customer_table import Asked
from billing.errors import Contended, InvoiceClosed, Unavailable
from billing.overage import Item
from billing.periods import Period, rfc3339
from billing.plans import Metric, Plan
from billing.statements import NOBODY, NOTHING, Statement
from billing.theirs import Theirs

TRIES = 10  # while events of the past keep coming
COLLECTING = {"active", "trialing", "past_due"}  # of a status: its invoices are finalized, and collected


def schedule(customer: str, closings: Sequence[Closing], at: int) -> None:
    """
    Each has its time, within the hour that a renewal's invoice is a draft. If that cannot be arranged, the sweep sees
    to it; if what is to be closed is not put on record after all, there is nothing to do then.
    """
    for each in closings:
        about = {"customer": customer, "subscription": each.subscription, "start": each.start}
        with suppress(Unavailable):
            name = f"close-{each.subscription}-{each.start}"
            scheduler.once(name, os.environ["CLOSE_FUNCTION"], about, max(each.due, at) + scheduler.SOON)


def close(customer: str, subscription: str, start: int, at: int) -> None:
    """Done already, or never asked for, is nothing to do. Before its time: whoever comes later does it."""
    asked = customer_table.closed(customer, subscription, start)
    if not asked or at < asked.closing.due:
        return
    stated = [
        statement for each in priced(asked.closing.plans) for statement in _state(customer, asked.closing, each, at)
    ]
    _bill([statement for statement in stated if statement.billed is None], asked)
    customer_table.is_closed(customer, asked)
    counted("PeriodsClosed", subscription=subscription, statements=len(stated))


class Priced(NamedTuple):
    """A metric that costs something, by the plan that says what."""

    id: str
    plan: Plan
    metric: Metric

    @property
    def counter(self) -> str:
        return self.metric.counter(self.id)


def priced(plans: Sequence[list]) -> list[Priced]:
    """
    The metrics of a period that cost something, by the last of its plans (slug, version); what that does not have, or
    adds up in another way, and one before it had, by the last of those.
    """
    found: dict[str, Priced] = {}
    for slug, version in plans:
        plan = plan_table.version(slug, version)
        each = [Priced(id, plan, metric) for id, metric in plan.metrics.items()]
        found |= {priced.counter: priced for priced in each}
    return [priced for priced in found.values() if priced.metric.price]


def _state(customer: str, closing: Closing, priced: Priced, at: int) -> list[Statement]:
    """All statements of a metric, with a new one for what was not in the last."""
    (id, plan, metric), counter, period = priced, priced.counter, Period(closing.start, closing.end)
    for _ in range(TRIES):
        shards = usage_table.shards(customer, counter, period, metric.shards)
        stated = statement_table.of(customer, counter, closing.start)
        n, digest = sum(shard.n for shard in shards), sum(shard.digest for shard in shards)
        if stated and (stated[-1].n, stated[-1].digest) == (n, digest):
            return stated
        statement = Statement(
            customer,
            id,
            closing.subscription,
            closing.start,
            closing.end,
            len(stated),
            plan.slug,
            plan.version,
            metric.aggregation,
            sum(shard.used for shard in shards),
            n,
            digest,
            closing.currency,
            amount_cents=0,
            before_cents=stated[-1].amount_cents if stated else 0,
            free=closing.free,
            made_at=at,
        )
        statement = _rated(statement, metric)
        about = {"ends": closing.end, "subscription": closing.subscription, "plan": plan.slug, "version": plan.version}
        closes = usage_table.closes(customer, counter, period, shards, len(stated), about)
        if not dynamodb.transact([*closes, statement_table.put(statement)]):
            return [*stated, statement]
    raise Contended("events of the period keep coming")


def _rated(statement: Statement, metric: Metric) -> Statement:
    amount, _ = statement.charge(metric.price)
    rated = replace(statement, amount_cents=amount)
    return rated if rated.due_cents else replace(rated, billed=NOTHING)


def _bill(statements: list[Statement], asked: Asked) -> None:
    """
    Whoever died after an invoice of its own was made for them, and before it was finalized, has left that to do. From
    a customer that Stripe has deleted nothing can be had.
    """
    if not statements:
        return
    theirs = gateway.subscription(asked.closing.subscription)
    if gateway.customer(theirs.customer).deleted:
        cents = sum(each.due_cents for each in statements)
        alarmed("usage_unbilled", subscription=theirs.id, start=asked.closing.start, cents=cents)
        for statement in statements:
            statement_table.bill(statement, NOBODY)
        return
    known = overage.billed(theirs.customer, asked.closing.start)
    _charge([each for each in statements if each.mark not in known], theirs, asked)
    for statement in statements:
        if found := known.get(statement.mark):
            if found.invoice:
                overage.finish(found.invoice)
            statement_table.bill(statement, "balance" if found.kind == "balance" else found.invoice or "next")


def _charge(statements: list[Statement], theirs: Theirs, asked: Asked) -> None:
    """
    On the renewal while it is a draft; if that is missed, on the next invoice. Where there is none to come, or only
    that of another interval, on one of its own; what is too much then goes onto the customer's balance.
    """
    collects = theirs.status in COLLECTING and not theirs.collection_paused
    draft = overage.renewal_draft(theirs.id) if collects and statements else None
    left = [each for each in statements if not (draft and _charge_on(draft.id, each, theirs))]
    if collects and not theirs.cancelling and asked.closing.end != theirs.anchor:
        for statement in left:
            overage.charge_on(None, theirs, *_item(statement))
            statement_table.bill(statement, "next")
    else:
        _charge_alone(left, theirs, asked)


def _charge_on(draft: str, statement: Statement, theirs: Theirs) -> bool:
    """Whether it still was a draft."""
    try:
        overage.charge_on(draft, theirs, *_item(statement))
    except InvoiceClosed:
        logger.warning("draft_missed", invoice=draft, mark=statement.mark)
        return False
    statement_table.bill(statement, draft)
    return True


def _charge_alone(statements: list[Statement], theirs: Theirs, asked: Asked) -> None:
    """What is given back comes first: the invoice is less by it."""
    for statement in statements:
        if statement.due_cents < 0:
            item = _item(statement)
            overage.credit(theirs.customer, -item.amount_cents, item.currency, item.description, item.mark)
            statement_table.bill(statement, "balance")
    owed = [each for each in statements if each.due_cents > 0]
    if owed:
        closing = asked.closing
        mark = f"final:{closing.subscription}:{closing.start}:{asked.times}"
        items = [_item(each) for each in owed]
        invoice = overage.charge_alone(theirs, items, mark, gateway.taxed(), closing.start)
        for statement in owed:
            statement_table.bill(statement, invoice.id)


def _item(statement: Statement) -> Item:
    what = "adjustment of " if statement.number else ""
    span = f"{(rfc3339(statement.start) or '')[:10]} to {(rfc3339(statement.end) or '')[:10]}"
    described = f"{what}{statement.metric}: {statement.quantity} ({span})"
    return Item(statement.due_cents, statement.currency, described, (statement.start, statement.end), statement.mark)
