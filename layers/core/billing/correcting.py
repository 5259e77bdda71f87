"""Voiding and amending what was recorded: the total then is as if it had been recorded right, or nothing is done."""

import time

from billing import customer_table, standing, usage_table
from billing.corrections import Correction, corrected
from billing.entitlements import Measure, Standing
from billing.errors import Contended, KeyReused, NotCorrectable, NotFound, OverLimit
from billing.periods import day_of
from billing.tallies import Use
from billing.usage import WATERMARK, Event, Recorded, Unfit
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
        if before and (before.fingerprint != correction.fingerprint or not original):
            raise KeyReused("this idempotency_key has meant something else")
        if not original:
            raise NotFound("no event was recorded under this key")
        if before:
            return corrected(correction, original, True)
        event = correction.applied(original)
        stands = standing.afresh(correction.customer, at)
        if _done(correction, original, event, stands, at):
            return corrected(correction, original, False)
    raise Contended("the total keeps moving")


def _done(correction: Correction, original: Recorded, event: Event | None, stands: Standing, at: int) -> bool:
    met = usage_table.of_total(original)
    measure = stands.measure(original.event.metric)
    if event:
        _suit(event, measure)
    if original.aggregation == "unique":
        wanted = {each.value for each in (original.event, event) if each and each.value}
        met = Met(met.total, usage_table.values(correction.customer, original.total, wanted))
    others = _others(original, met)
    if others is None:
        return False
    most = _most(original, measure, at)
    beside = [customer_table.unmoved(stands.customer, stands.moves)] if most is not None and event else []
    if met.total.closed:
        subscription, start = met.total.subscription or "", int(original.total.split("#")[1])
        beside = [customer_table.closes_again(stands.customer, subscription, start, at + WATERMARK)]
    more = (event.quantity if event else 0) - original.event.quantity
    if original.aggregation == "sum" and met.total.used + more < 0:
        raise NotCorrectable("there would be less than nothing of it: correct what was given back first")
    if event and most is not None and _passes(original, event, met.total.used + more, most):
        raise OverLimit(f"the limit of {most} would be passed")
    return usage_table.correct(original, correction, event, met, others, most, beside, at)


def _suit(event: Event, measure: Measure | None) -> None:
    if not measure:
        raise NotCorrectable("the customer has no such metric any more: void it, and record it where it belongs")
    try:
        measure.suits(event)
    except Unfit as unfit:
        raise NotCorrectable(f"{unfit.field}: {unfit}") from unfit


def _others(original: Recorded, met: Met) -> list[Use] | None:
    """The live events of its day in the same total, where the day is worked out anew; None: some are not seen yet."""
    if original.aggregation in ("sum", "unique"):
        return []
    event = original.event
    day = day_of(event.at)
    found = usage_table.of_day(event.customer, event.metric, day)
    live = [each.event.use for each in found if each.total == original.total and each.live]
    others = [use for use in live if use.id != event.id]
    counted = met.total.days[day].n if day in met.total.days else 0
    return others if len(others) == counted - 1 else None


def _most(original: Recorded, measure: Measure | None, at: int) -> int | None:
    """What a hard limit allows in the period that runs; those before it have been what they were."""
    if not measure or not measure.hard or measure.limit is None:
        return None
    return measure.limit if int(original.total.split("#")[1]) == measure.period(at).start else None


def _passes(original: Recorded, event: Event, used: int, most: int) -> bool:
    if original.aggregation in ("max", "last"):
        return event.quantity > most
    return original.aggregation == "sum" and event.quantity > original.event.quantity and used > most
