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

from billing import customer_table, dynamodb, gateway, overage, plan_table, scheduler, statement_table, usage_table
from billing.api import counted, logger
from billing.closings import Closing
from billing.errors import Contended, InvoiceClosed, Unavailable
from billing.overage import Item
from billing.periods import Period, rfc3339
from billing.plans import Metric, Plan
from billing.statements import NOTHING, Statement
from billing.theirs import Theirs

TRIES = 10  # while events of the past keep coming
GOING_ON = {"active", "trialing", "past_due"}  # of a status: a next invoice is to come


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
    closing = asked.closing
    stated = [
        statement
        for metric, (plan, counted_by) in _priced(closing).items()
        for statement in _state(customer, closing, metric, plan, counted_by, at)
    ]
    _bill([statement for statement in stated if statement.billed is None], closing)
    customer_table.is_closed(customer, asked)
    counted("PeriodsClosed", subscription=subscription, statements=len(stated))


def _priced(closing: Closing) -> dict[str, tuple[Plan, Metric]]:
    """
    By the plan that was in force at the close; what that does not have, and one before it in the period had, by the
    last of those.
    """
    found: dict[str, tuple[Plan, Metric]] = {}
    for slug, version in [*closing.had, [closing.plan, closing.version]]:
        plan = plan_table.version(slug, version)
        found |= {id: (plan, metric) for id, metric in plan.metrics.items()}
    return {id: (plan, metric) for id, (plan, metric) in found.items() if metric.price}


def _state(customer: str, closing: Closing, id: str, plan: Plan, metric: Metric, at: int) -> list[Statement]:
    """All statements of a metric, with a new one for what was not in the last."""
    period = Period(closing.start, closing.end)
    for _ in range(TRIES):
        shards = usage_table.shards(customer, id, period, metric.shards)
        stated = statement_table.of(customer, id, closing.start)
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
        closes = usage_table.closes(customer, id, period, shards, len(stated), about)
        if not dynamodb.transact([*closes, statement_table.put(statement)]):
            return [*stated, statement]
    raise Contended("events of the period keep coming")


def _rated(statement: Statement, metric: Metric) -> Statement:
    amount, _ = statement.charge(metric.price)
    rated = replace(statement, amount_cents=amount)
    return rated if rated.due_cents else replace(rated, billed=NOTHING)


def _bill(statements: list[Statement], closing: Closing) -> None:
    if not statements:
        return
    theirs = gateway.subscription(closing.subscription)
    known = overage.billed(theirs.customer, closing.start)
    left = []
    for statement in statements:
        if found := known.get(statement.mark):
            where = "balance" if found.kind == "balance" else found.invoice or "next"
            statement_table.bill(statement, where)
        else:
            left.append(statement)
    if left:
        _charge(left, theirs, closing)


def _charge(statements: list[Statement], theirs: Theirs, closing: Closing) -> None:
    """
    On the renewal while it is a draft; if that is missed, on the next invoice. Where there is none to come, or only
    that of another interval, on one of its own; what is too much then goes onto the customer's balance.
    """
    goes_on = theirs.status in GOING_ON and not theirs.cancelling and not theirs.collection_paused
    draft = overage.renewal_draft(theirs.id) if goes_on else None
    at_once = not goes_on or (closing.end == theirs.anchor and not draft)
    alone = []
    for statement in statements:
        if (at_once and not statement.number) or not goes_on:
            alone.append(statement)
            continue
        where = _place(statement, draft.id if draft else None, theirs)
        statement_table.bill(statement, where)
    _charge_alone([each for each in alone if each.due_cents > 0], theirs)
    for statement in alone:
        if statement.due_cents < 0:
            item = _item(statement)
            overage.credit(theirs.customer, -item.amount_cents, item.currency, item.description, item.mark)
            statement_table.bill(statement, "balance")


def _place(statement: Statement, draft: str | None, theirs: Theirs) -> str:
    item = _item(statement)
    said = theirs, item.amount_cents, item.currency, item.description, item.period, item.mark
    if draft:
        try:
            overage.charge_on(draft, *said)
            return draft
        except InvoiceClosed:
            logger.warning("draft_missed", invoice=draft, mark=item.mark)
    overage.charge_on(None, *said)
    return "next"


def _charge_alone(statements: list[Statement], theirs: Theirs) -> None:
    if not statements:
        return
    first = statements[0]
    mark = f"final:{first.subscription}:{first.start}:{max(each.number for each in statements)}"
    invoice = overage.charge_alone(theirs, [_item(each) for each in statements], mark, gateway.taxed(), first.start)
    for statement in statements:
        statement_table.bill(statement, invoice.id)


def _item(statement: Statement) -> Item:
    what = "adjustment of " if statement.number else ""
    span = f"{(rfc3339(statement.start) or '')[:10]} to {(rfc3339(statement.end) or '')[:10]}"
    described = f"{what}{statement.metric}: {statement.quantity} ({span})"
    return Item(statement.due_cents, statement.currency, described, (statement.start, statement.end), statement.mark)
