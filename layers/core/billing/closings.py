"""When periods of a subscription have ended, so that what was used in them is billed: once each, whatever was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from billing.periods import period_of
from billing.theirs import Theirs
from billing.usage import WATERMARK

ASKEW = 300  # seconds: what a change takes at Stripe, and how far clocks may lie apart


@dataclass(frozen=True, slots=True)
class Closing:
    """A period of a subscription that has ended by renewal, by its cancellation, or by a change of the anchor."""

    subscription: str
    plan: str  # in force when it ended
    version: int
    start: int
    end: int
    due: int  # when it takes no more events
    free: bool = False  # on trial, paused after it, or never paid: what was used is told, and not charged
    had: list[list] = field(default_factory=list)  # [slug, version] of the plans before in it, the last one last
    currency: str = "usd"

    @property
    def plans(self) -> list[list]:
        """Slug and version of all that were in force in it, the last one last."""
        return [*self.had, [self.plan, self.version]]


def boundary(theirs: Theirs, at: int) -> int:
    """Up to where its periods have ended."""
    if not theirs.ended:
        begun = theirs.trial_began_at if theirs.status == "trialing" else None
        return max(theirs.current_period_start, begun or 0)
    return theirs.ended_at or min(at, theirs.current_period_end)


def closings(
    before: Theirs,
    plan: tuple[str, int],
    had: Sequence[list],
    since: int,
    until: int,
    unpaid: bool,
    at: int,
    anchored_at: int = 0,
) -> list[Closing]:
    """
    Of the periods between two boundaries, by the anchor and the interval there was before the second: the oldest
    first. `unpaid`: it has ended without ever having been paid. Each is due half an hour after its end; one that ends
    long before its time, on a test clock, after it was seen. One in whose middle the anchor was set begins there.
    """
    found, start = [], since
    while start < until:
        period = period_of(start, before.anchor, before.interval or _interval(before))
        end = min(period.end, until)
        ended_trial = before.trial_ends_at
        unpaid_trial = before.status == "paused" and start == ended_trial  # nobody has paid to go on, or had access
        free = unpaid or unpaid_trial or (ended_trial is not None and end <= ended_trial)
        due = (end if end <= at + ASKEW else at) + WATERMARK
        found.append(
            Closing(
                before.id,
                *plan,
                max(period.start, anchored_at),
                end,
                due,
                free,
                [list(each) for each in had],
                before.currency,
            )
        )
        start = end
    return found


def _interval(theirs: Theirs) -> str:
    """Of a record that does not name it."""
    return "month" if theirs.current_period_end - theirs.current_period_start <= 32 * 86_400 else "year"
