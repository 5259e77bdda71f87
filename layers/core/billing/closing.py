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

from billing import (
    customer_table,
    dynamodb,
    gateway,
    log,
    overage,
    plan_table,
    records,
    scheduler,
    statement_table,
    usage_table,
)
from billing.closings import Closing
from billing.customer_table import Asked
from billing.domain_events import Happened
from billing.errors import Contended, InvoiceClosed, StripeRefused, Unavailable
from billing.overage import Billed, Item
from billing.periods import Period, rfc3339
from billing.plans import Metric, Plan
from billing.statements import NOBODY, NOTHING, Statement
from billing.theirs import Theirs
from billing.usage import WATERMARK

TRIES = 10  # while events of the past keep coming
SOON = 32 * 86_400  # seconds, until a renewal that what has missed one may wait for
AGAIN = ":again"  # of a mark: of what was on an invoice that nobody will be charged
COLLECTING = {"active", "trialing", "past_due"}  # of a status: its invoices are finalized, and collected


def schedule(customer: str, closings: Sequence[Closing], at: int) -> None:
    """
    Each has its time, within the hour that a renewal's invoice is a draft. If that cannot be arranged, the sweep sees
    to it; if what is to be closed is not put on record after all, there is nothing to do then.
    """
    with suppress(Unavailable):
        for each in closings:
            about = {"customer": customer, "subscription": each.subscription, "start": each.start}
            name = f"close-{each.subscription}-{each.start}"
            scheduler.once(name, os.environ["CLOSE_FUNCTION"], about, max(each.due, at) + scheduler.SOON)


def close(customer: str, subscription: str, start: int, at: int) -> None:
    """
    The period, then what of those before it is left to be billed: its end may be the renewal that this has waited for,
    or that of the subscription.

    Done already, or never asked for, is nothing to do. Before its time, or while another is at it: whoever comes later
    does it. StripeRefused if Stripe takes a part of it not; the rest is billed.
    """
    _close(customer, subscription, start, at)
    for earlier in customer_table.unclosed(customer, subscription):
        if earlier < start:
            _close(customer, subscription, earlier, at)


def _close(customer: str, subscription: str, start: int, at: int) -> None:
    asked = customer_table.closed(customer, subscription, start)
    if not asked or at < asked.closing.due:
        return
    if not customer_table.lease(customer, asked, at):
        log.info("closed_by_another", subscription=subscription, start=start)
        return
    metrics = priced(asked.closing.plans)
    stated = [statement for each in metrics for statement in _state(customer, asked.closing, each, at)]
    left = [statement for statement in stated if statement.billed is None]
    sold_in = {each.counter: each.plan.currency for each in metrics}
    foreign = [each for each in left if sold_in[each.counter] != each.currency]
    _let_be(foreign, "the plan is in another currency")
    until = _bill([each for each in left if each not in foreign], asked, customer, at)
    if until:
        customer_table.postpone(customer, asked, until)
        log.info("postponed", subscription=subscription, start=start, until=until)
        return
    if not _tell(customer, asked, stated, at):
        customer_table.let_go(customer, asked)
    log.counted("PeriodsClosed", subscription=subscription, statements=len(stated))


def _tell(customer: str, asked: Asked, stated: list[Statement], at: int) -> bool:
    """It is closed, and that is told, if something was used in it. False: it has been asked for again meanwhile."""
    closes, closing = [customer_table.closes(customer, asked)], asked.closing
    if not stated:
        return not dynamodb.transact(closes)
    period = {"start": rfc3339(closing.start), "end": rfc3339(closing.end), "currency": closing.currency}
    statements = [each.summary() for each in stated]
    data = {"subscription": closing.subscription} | period | {"statements": statements}
    return records.tell(customer, [Happened("usage.period_closed", data)], closes, at)


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


def _let_be(statements: list[Statement], why: str) -> None:
    """Nobody can be billed for them: the operator is told, once."""
    if not statements:
        return
    first, cents = statements[0], sum(each.due_cents for each in statements)
    log.alarmed("usage_unbilled", subscription=first.subscription, start=first.start, cents=cents, reason=why)
    for statement in statements:
        statement_table.bill(statement, NOBODY)


def _bill(statements: list[Statement], asked: Asked, customer: str, at: int) -> int | None:
    """
    Answers until when some of them wait for the next renewal; None: for nothing.

    Whoever died after an invoice of its own was made for them, and before it was finalized, has left that to do. From
    a customer that Stripe has deleted nothing can be had.
    """
    theirs = gateway.subscription(asked.closing.subscription)
    if gateway.customer(theirs.customer).deleted:
        _let_be(statements, "Stripe has deleted the customer")
        return None
    known = overage.billed(theirs.customer, asked.closing.start)
    waits, refused = _charge([each for each in statements if each.mark not in known], theirs, asked, at)
    for statement in statements:
        if found := known.get(statement.mark):
            if found.invoice:
                overage.finish(found.invoice)
            statement_table.bill(statement, found.where)
    refused += _bill_again(known, theirs, asked, customer)
    if refused:
        cents = sum(each.due_cents for each in refused)
        about = {"subscription": theirs.id, "start": asked.closing.start, "cents": cents}
        log.alarmed("usage_unbilled", reason="Stripe refuses it", **about)
        raise StripeRefused(f"Stripe takes {len(refused)} statements not")
    return theirs.current_period_end + WATERMARK if waits else None


def _charge(
    statements: list[Statement], theirs: Theirs, asked: Asked, at: int
) -> tuple[list[Statement], list[Statement]]:
    """
    On the renewal while it is a draft; if that is missed, on the next one. Where there is none to come soon, or only
    that of another interval, on an invoice of its own; what is too much then goes onto the customer's balance.

    Answers those that wait for that next renewal, and those that Stripe refuses. Nothing is put at Stripe to wait: the
    subscription may end, or pause, before its time.
    """
    collects = theirs.status in COLLECTING and not theirs.collection_paused
    draft = overage.renewal_draft(theirs.id) if collects and statements else None
    left, refused = [], []
    for statement in statements:
        try:
            if not (draft and _charge_on(draft.id, statement, theirs)):
                left.append(statement)
        except StripeRefused as failure:
            refused.append(statement)
            log.error("refused", mark=statement.mark, reason=str(failure))
    soon = theirs.current_period_end - at <= SOON
    if collects and soon and not theirs.cancelling and asked.closing.end != theirs.anchor:
        return left, refused
    name = f"final:{theirs.id}:{asked.closing.start}:{asked.times}"
    return [], refused + _charge_alone(left, theirs, name, asked.closing.start)


def _charge_on(draft: str, statement: Statement, theirs: Theirs) -> bool:
    """Whether it still was a draft."""
    try:
        overage.charge_on(draft, theirs, *_item(statement))
    except InvoiceClosed:
        log.warning("draft_missed", invoice=draft, mark=statement.mark)
        return False
    statement_table.bill(statement, draft)
    return True


def _charge_alone(
    statements: list[Statement], theirs: Theirs, name: str, since: int, suffix: str = ""
) -> list[Statement]:
    """
    What is given back comes first: the invoice is less by it. Answers what Stripe refuses: of an invoice that takes one
    item not, the others are found by their marks.
    """
    refused = []
    for statement in statements:
        if statement.due_cents < 0:
            item = _item(statement, suffix)
            try:
                overage.credit(theirs.customer, -item.amount_cents, item.currency, item.description, item.mark)
                statement_table.bill(statement, "balance")
            except StripeRefused as failure:
                refused.append(statement)
                log.error("refused", mark=item.mark, reason=str(failure))
    owed = [each for each in statements if each.due_cents > 0]
    if owed:
        try:
            items = [_item(each, suffix) for each in owed]
            invoice = overage.charge_alone(theirs, items, name, gateway.taxed(), since)
            where = {item.mark: invoice.id for item in items}
        except (StripeRefused, InvoiceClosed) as failure:
            where = {mark: found.where for mark, found in overage.billed(theirs.customer, since).items()}
            log.error("refused", mark=name, reason=str(failure))
        for statement in owed:
            if found := where.get(statement.mark + suffix):
                statement_table.bill(statement, found)
            else:
                refused.append(statement)
    return refused


def _bill_again(known: dict[str, Billed], theirs: Theirs, asked: Asked, customer: str) -> list[Statement]:
    """
    What was put on a renewal that is given up, as the subscription has ended or paused within the draft's hour, is
    charged alone: seen when the next period is closed, which that renewal has begun. Answers what Stripe refuses.
    """
    own = [each for mark, each in known.items() if mark.startswith(f"{theirs.id}:") and not mark.endswith(AGAIN)]
    renewals = {id: overage.given_up(id) for id in sorted({each.invoice for each in own if each.invoice})}
    lost = [each for each in own if each.invoice and renewals[each.invoice]]
    stated = {each.mark: _stated(customer, each.mark) for each in lost}
    unbilled = [statement for mark, statement in stated.items() if mark + AGAIN not in known]
    name = f"again:{theirs.id}:{asked.closing.start}:{asked.times}"
    refused = _charge_alone(unbilled, theirs, name, asked.closing.start, AGAIN)
    for each in lost:
        if found := known.get(each.mark + AGAIN):
            if found.invoice:
                overage.finish(found.invoice)
            statement_table.bill(stated[each.mark], found.where)
        renewal = renewals[each.invoice or ""]
        if renewal and renewal.status == "draft" and stated[each.mark] not in refused:
            overage.take_off(each)  # it is charged elsewhere, whoever finalizes the draft after all
    return refused


def _stated(customer: str, mark: str) -> Statement:
    _, counter, start, _ = mark.split(":")
    return next(each for each in statement_table.of(customer, counter, int(start)) if each.mark == mark)


def _item(statement: Statement, suffix: str = "") -> Item:
    what = "adjustment of " if statement.number else ""
    span = f"{(rfc3339(statement.start) or '')[:10]} to {(rfc3339(statement.end) or '')[:10]}"
    described = f"{what}{statement.metric}: {statement.quantity} ({span})"
    period, mark = (statement.start, statement.end), statement.mark + suffix
    return Item(statement.due_cents, statement.currency, described, period, mark)
