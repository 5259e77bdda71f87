"""A charge for usage taken apart: down to its events, and worked out again from them."""

from dataclasses import asdict, replace

from billing import plan_table, statement_table, usage_table
from billing.errors import NotFound, RangeTooLarge
from billing.history import MOST
from billing.periods import Period, rfc3339
from billing.statements import Statement
from billing.tallies import tally
from billing.usage import Recorded

SHOWN = 1000


def explain(customer: str, metric: str, at: int) -> dict:
    """
    Every statement of the period that an instant is of. `proven`: from the events on record come the same quantity,
    the same hash and the same amount; events live for 400 days.
    """
    stated = statement_table.around(customer, metric, at)
    if not stated:
        raise NotFound("no statement of this metric covers this instant")
    if stated[-1].n > MOST:
        raise RangeTooLarge(f"more than {MOST} events would have to be read")
    events = _events(customer, metric, stated[-1])
    return {
        "customer_id": customer,
        "metric_id": metric,
        "statements": [_explained(statement, events) for statement in stated],
        "events": [_shown(each) for each in events[:SHOWN]],
        "events_omitted": max(0, len(events) - SHOWN),
    }


def _events(customer: str, metric: str, statement: Statement) -> list[Recorded]:
    """Those of its total, of the days that this has."""
    total = usage_table.with_days(customer, statement.counter, Period(statement.start, statement.end))
    found = (each for day in total.days for each in usage_table.of_day(customer, metric, day))
    return [each for each in found if each.total.startswith(f"{statement.counter}#{statement.start:012}")]


def _explained(statement: Statement, events: list[Recorded]) -> dict:
    lived = [each for each in events if each.lived(statement.number)]
    rate = plan_table.version(statement.plan, statement.version).metrics[statement.metric].price
    worked_out = tally(statement.aggregation, [each.event.use for each in lived])
    again = replace(statement, quantity=max(0, worked_out.used), n=worked_out.n, digest=worked_out.digest)
    amount, lines = again.charge(rate)
    return statement.public() | {
        "rate": rate and asdict(rate),
        "lines": lines,
        "days": [{"date": day, "n": each.n, "used": each.value} for day, each in worked_out.days.items()],
        "recomputed": {"quantity": worked_out.used, "events": worked_out.n, "amount_cents": amount},
        "proven": replace(again, amount_cents=amount) == statement,
    }


def _shown(each: Recorded) -> dict:
    event = each.event
    return {
        "idempotency_key": event.key,
        "quantity": event.quantity,
        "value": event.value,
        "timestamp": rfc3339(event.at),
        "happened_at": rfc3339(event.happened),
        "recorded_at": rfc3339(each.recorded_at),
        "statement": each.statement,
        "corrects": each.corrects,
        "corrected_by": each.corrected_by,
        "reason": each.reason,
        "actor": each.actor,
    }
