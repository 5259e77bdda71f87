"""
Moving a cohort: whoever is on one version of a plan, to the version in force.

Each is quoted, and moved on that quote: if anything that it was reckoned on has moved meanwhile, so that the customer
would pay something else or has chosen something else, nobody is moved. Whoever has a change of their own under way is
left alone. A run that dies is run again: those who have been moved are no longer on the version.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from local.tollgate import Refused, Tollgate, Wrong

MOVED, SCHEDULED, THERE, REFUSED, WOULD = "moved", "scheduled", "already there", "refused", "would move"


@dataclass(frozen=True)
class Move:
    slug: str
    before: int
    after: int
    effective: str  # now, period_end


@dataclass(frozen=True)
class Fate:
    outcome: str
    why: str = ""
    cost: dict | None = None  # as quoted


def move(
    tollgate: Tollgate, slug: str, version: int, effective: str, apply: bool, say: Callable[[str], None] = print
) -> int:
    """Without `apply` nobody is moved: what it would cost each is told. Answers 0, or 1 if any was refused."""
    in_force = {plan["slug"]: plan["version"] for plan in tollgate.ask("GET", "/plans")["plans"]}
    if slug not in in_force:
        raise Wrong(f"{slug} is not on sale: there is no version to move to")
    wish = Move(slug, version, in_force[slug], effective)
    if wish.after == wish.before:
        raise Wrong(f"version {version} of {slug} is the one in force: there is none to move to")
    members = list(_members(tollgate, wish))  # all of them first: whoever is moved falls out of the pages
    say(f"{slug}: {len(members)} on version {version}, to version {wish.after}, effective {effective}")
    fates = []
    for member in members:
        fate = _one(tollgate, wish, member, apply)
        fates.append(fate)
        say(_line(member, fate))
    say(_sum(fates, apply))
    return 1 if any(fate.outcome == REFUSED for fate in fates) else 0


def _members(tollgate: Tollgate, wish: Move) -> Iterator[dict]:
    pages = f"/plans/{wish.slug}/versions/{wish.before}/subscriptions"
    page = tollgate.ask("GET", pages)
    yield from page["subscriptions"]
    while page["next"]:
        page = tollgate.ask("GET", f"{pages}?cursor={quote(page['next'], safe='')}")
        yield from page["subscriptions"]


def _one(tollgate: Tollgate, wish: Move, member: dict, apply: bool) -> Fate:
    theirs = f"/customers/{quote(member['customer'], safe='')}/subscription"
    said = {"plan_slug": wish.slug, "effective": wish.effective}
    try:
        stands = _stands(wish, member, tollgate.ask("GET", theirs))
        if stands:
            return stands
        quoted = tollgate.ask("POST", f"{theirs}/quote", said)
        cost = {name: quoted[name] for name in ("due_now_cents", "next_invoice_cents", "currency")}
        if not apply:
            return Fate(WOULD, cost=cost)
        # A quote is good for one change, so its id makes the key one of this move alone: a move that was given up, or
        # has waited for a payment in vain, may be made again the same day.
        key = f"move:{wish.slug}:{wish.before}:{wish.after}:{quoted['quote_id']}"
        told = tollgate.ask("PUT", f"{theirs}/plan", said | {"quote_id": quoted["quote_id"]}, key)
    except Refused as refusal:
        if refusal.of_token:
            raise
        if refusal.code == "nothing_to_change":  # it is to be there already, at the end of the period
            return Fate(THERE)
        return Fate(REFUSED, f"{refusal.code}{refusal.detail and ': '}{refusal.detail}")
    return _became(wish, told, cost)


def _stands(wish: Move, member: dict, told: dict) -> Fate | None:
    """Why it is not to be moved; None: it is."""
    if told["id"] != member["subscription"]:
        return Fate(REFUSED, f"other_subscription: the customer's one is {told['id']}")
    if _on(told) == (wish.slug, wish.after):
        return Fate(THERE)
    if _on(told) != (wish.slug, wish.before):
        return Fate(REFUSED, "other_plan: it has left the version meanwhile")
    if pending := told["pending_change"]:
        return Fate(REFUSED, f"{pending['status']}: a change is pending")
    if to_come := told.get("scheduled_change"):
        if (to_come["plan"], to_come["seats"]) != (wish.slug, told["seats"]):  # else it is an earlier run's
            return Fate(REFUSED, f"change_scheduled: the customer's own, at {to_come['effective_at']}")
    return None


def _became(wish: Move, told: dict, cost: dict) -> Fate:
    if _on(told) == (wish.slug, wish.after):
        return Fate(MOVED, cost=cost)
    if to_come := told.get("scheduled_change"):
        return Fate(SCHEDULED, f"for {to_come['effective_at']}", cost=cost)
    pending = told["pending_change"] or {"status": "not_moved"}
    return Fate(REFUSED, f"{pending['status']}: it is on version {told['plan_version']} still")


def _on(told: dict) -> tuple[str, int]:
    return told["plan"], told["plan_version"]


def _line(member: dict, fate: Fate) -> str:
    who = f"  {member['customer']:<24} {member['subscription']:<32} {member['status']:<9} seats {member['seats']:<6}"
    said = [fate.outcome, fate.why]
    if fate.cost:
        said += [f"{name} {value}" for name, value in fate.cost.items()]
    return f"{who} {'  '.join(filter(None, said))}"


def _sum(fates: list[Fate], apply: bool) -> str:
    counts, due = Counter(fate.outcome for fate in fates), Counter()
    for fate in fates:
        if fate.cost:
            due[fate.cost["currency"]] += fate.cost["due_now_cents"]
    outcomes = (MOVED, SCHEDULED, THERE, REFUSED) if apply else (WOULD, THERE, REFUSED)
    told = [f"{outcome} {counts[outcome]}" for outcome in outcomes]
    told += [f"due_now_cents {cents} {currency}" for currency, cents in due.items()]
    return ", ".join(told) + ("" if apply else "; nobody has been moved: APPLY=1 does it")
