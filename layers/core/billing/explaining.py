"""A charge for usage taken apart: down to its events, and worked out again from them."""

from dataclasses import asdict

from billing import plan_table, statement_table, usage_table
from billing.errors import NotFound, RangeTooLarge
from billing.periods import DAY, day_of, rfc3339, start_of
from billing.statements import Statement
from billing.tallies import tally
from billing.usage import Recorded

MOST = 50_000  # events that are read
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
    key = f"{metric}#{statement.start:012}"
    days = range(start_of(day_of(statement.start)), statement.end, DAY)
    found = (each for day in days for each in usage_table.of_day(customer, metric, day_of(day)))
    return [each for each in found if each.total == key or each.total.startswith(f"{key}#s")]


def _explained(statement: Statement, events: list[Recorded]) -> dict:
    lived = [each for each in events if each.lived(statement.number)]
    rate = plan_table.version(statement.plan, statement.version).metrics[statement.metric].price
    amount, lines = statement.charge(rate)
    worked_out = tally(statement.aggregation, [each.event.use for each in lived])
    return statement.public() | {
        "rate": rate and asdict(rate),
        "lines": lines,
        "days": [{"date": day, "n": each.n, "used": each.value} for day, each in worked_out.days.items()],
        "recomputed": {"quantity": worked_out.used, "events": worked_out.n, "amount_cents": amount},
        "proven": statement.proven(lived) and amount == statement.amount_cents,
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
