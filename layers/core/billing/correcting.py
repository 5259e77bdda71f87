"""Voiding and amending what was recorded: the total then is as if it had been recorded right, or nothing is done."""

import time

from billing import customer_table, standing, tallies, usage_table
from billing.corrections import Correction, corrected
from billing.entitlements import Measure
from billing.errors import Contended, KeyReused, NotCorrectable, NotFound, OverLimit
from billing.periods import day_of, start_of
from billing.tallies import Day, Use
from billing.usage import RETENTION, WATERMARK, Event, Recorded, Total, Unfit
from billing.usage_table import Met

PAUSES = (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0)  # seconds between two looks at what keeps moving


def correct(correction: Correction, at: int) -> dict:
    """
    Once for each key of a correction. NotFound: no such event, or it is gone after 400 days. What its period was
    billed as already is adjusted by the next statement of it.
    """
    for pause in PAUSES:
        time.sleep(pause)
        original = usage_table.recorded(correction.customer, correction.corrects)
        before = usage_table.recorded(correction.customer, correction.key)
        if before and before.fingerprint != correction.fingerprint:
            raise KeyReused("this idempotency_key has meant something else")
        if not original:
            raise NotFound("no event was recorded under this key")
        if before:
            return corrected(correction, original, True)
        event = correction.applied(original)
        if _done(correction, original, event, at):
            return corrected(correction, original, False)
    raise Contended("the total keeps moving")


def _done(correction: Correction, original: Recorded, event: Event | None, at: int) -> bool:
    stands = standing.afresh(correction.customer, at)
    measure = stands.measure(original.event.metric)
    if event:
        _suit(event, measure)
    met = _met(original, event)
    others = _others(original, met.total, at)
    if others is None:
        return False
    gone, come = original.event.use, event and event.use
    beside = None if met.total.long else usage_table.days_of(original.total)
    moves = tallies.replacing(original.aggregation, gone, come, met.total, others, met.known, beside)
    more, most = moves.total.adds.get("used", 0), _most(original, measure, at)
    if met.total.used + more < 0:
        raise NotCorrectable("there would be less than nothing of it: correct what was given back first")
    if most is not None and _passes(original, event, met.total.used, more, most):
        raise OverLimit(f"the limit of {most} would be passed")
    checks = [customer_table.unmoved(stands.customer, stands.moves)]  # a limit there is none of yet, too
    if met.total.closed:
        subscription, start = met.total.subscription or "", int(original.total.split("#")[1])
        checks.append(customer_table.closes_again(stands.customer, subscription, start, at + WATERMARK))
    return usage_table.correct(original, correction, event, met.total, moves, most, checks, at)


def _met(original: Recorded, event: Event | None) -> Met:
    total = usage_table.of_total(original)
    if original.aggregation != "unique":
        return Met(total)
    wanted = {each.value for each in (original.event, event) if each and each.value}
    return Met(total, usage_table.values(original.event.customer, original.total, wanted))


def _suit(event: Event, measure: Measure | None) -> None:
    if not measure:
        raise NotCorrectable("the customer has no such metric any more: void it, and record it where it belongs")
    try:
        measure.suits(event)
    except Unfit as unfit:
        raise NotCorrectable(f"{unfit.field}: {unfit}") from unfit


def _others(original: Recorded, total: Total, at: int) -> list[Use] | None:
    """The other live events of its day, where the day is worked out anew; None: some are not seen yet as they are."""
    if original.aggregation in ("sum", "unique"):
        return []
    event = original.event
    day = day_of(event.at)
    found = [each for each in usage_table.of_day(event.customer, event.metric, day) if each.total == original.total]
    if not total.days.get(day, Day()).is_of([each.live for each in found]):
        if start_of(day) < at - RETENTION:
            raise NotCorrectable(f"the other events of {day} are no longer kept, and without them it cannot be told")
        return None
    return [each.event.use for each in found if each.live and each.event.id != event.id]


def _most(original: Recorded, measure: Measure | None, at: int) -> int | None:
    """What a hard limit allows in the period that runs; those before it have been what they were."""
    if not measure or not measure.hard or measure.limit is None:
        return None
    counter, start, *_ = original.total.split("#")
    return measure.limit if (counter, int(start)) == (measure.counter, measure.period(at).start) else None


def _passes(original: Recorded, event: Event | None, used: int, more: int, most: int) -> bool:
    """What becomes less may still be above a limit that was lowered."""
    if original.aggregation in ("max", "last"):
        return event is not None and event.quantity > max(most, original.event.quantity)
    return more > 0 and used + more > most
