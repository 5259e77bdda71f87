"""Which mail is sent of what has happened, and whether it is to be sent still."""

from typing import NamedTuple

from billing import wording
from billing.customers import Contact, Customer
from billing.holds import digest
from billing.invoices import Invoice, Upcoming
from billing.periods import rfc3339
from billing.plans import Plan

LATE = 3 * 86_400  # seconds after which a mail that could not be sent is of no use any more

BY_TYPE = {
    "subscription.trial_ending": "trial_ending",
    "usage.threshold_reached": "usage_threshold",
    "payment_method.expiring": "card_expiring",
}
BY_PROBLEM = {
    "declined": "payment_failed",
    "hard_decline": "payment_method_needed",
    "action_required": "action_required",
}
ENDED = {"canceled", "free_plan"}  # outcomes of dunning after which nothing is owed or asked for any more
LASTING = {"trial_ending", "card_expiring"}  # tell of what is to last
LASTING |= {"subscription_cancelled", "subscription_paused", "subscription_changed"}
KINDS = {
    *BY_TYPE.values(),
    *BY_PROBLEM.values(),
    "payment_recovered",
    "trial_ended",
    "subscription_cancelled",
    "subscription_paused",
    "subscription_changed",
    "usage_statement",
    "invoice_ready",
}


def kind_of(type: str, data: dict) -> str | None:
    """None: none is. What a customer has not been told, and what its next mail says anyway, is no mail of its own."""
    match type:
        case "dunning.step_taken":
            return BY_PROBLEM[data["problem"]]
        case "dunning.ended":
            return "payment_recovered" if data["outcome"] == "paid" else None
        case "subscription.ended":
            unpaid = data["status"] == "incomplete_expired" or data["was"].get("status") == "incomplete"
            return None if unpaid else "subscription_cancelled"
        case "subscription.updated":
            return _changed(data, data["was"])
        case "usage.period_closed":
            return "usage_statement" if data["statements"] else None
        case _ if type.startswith("invoice."):
            begins = data["reason"] == "subscription_create"  # whose payment the customer is about to confirm
            unpaid = type == "invoice.finalized" and data["status"] == "open" and not begins
            ready = data["new"] and data["amount_due_cents"] > 0 and (unpaid or data["status"] == "paid")
            return "invoice_ready" if ready else None
    return BY_TYPE.get(type)


def _changed(data: dict, was: dict) -> str | None:
    if was.get("status") == "incomplete":
        return None
    if was.get("status") == "trialing":
        return "trial_ended"
    before = data | was
    cancels = bool(data["cancel_at"] or data["cancel_at_period_end"])
    if cancels != bool(before["cancel_at"] or before["cancel_at_period_end"]):
        return "subscription_cancelled" if cancels else "subscription_changed"
    if "collection_paused" in was or (data["status"] == "paused") != (before["status"] == "paused"):
        paused = data["collection_paused"] or data["status"] == "paused"
        return "subscription_paused" if paused else "subscription_changed"
    return "subscription_changed" if was.keys() & {"plan", "seats", "scheduled_change"} else None


def invoice_of(type: str, data: dict) -> str | None:
    """The invoice that a mail is about."""
    return data["invoice"] if type.startswith("dunning.") else data["id"] if type.startswith("invoice.") else None


class Found(NamedTuple):
    """What is looked up when a mail is about to be sent."""

    ours: Customer
    plan: Plan | None = None  # of its subscription
    names: dict = {}  # noqa: RUF012 (slug, version) of plans to what they are sold as
    invoice: Invoice | None = None  # as Stripe has it now, with fresh links; None: it is about none, or Stripe has none
    upcoming: Upcoming | None = None  # what the end of a trial will cost; None: nothing, it ends


def obsolete(kind: str, type: str, data: dict, ours: Customer, invoice: Invoice | None, at: int) -> bool:
    """Whether what it would say is not so any more."""
    if kind in BY_PROBLEM.values():
        if data["outcome"] in ENDED:  # by that its invoice may be void, and the mail says so
            return invoice is not None and invoice.status == "paid"
        return invoice is None or invoice.status != "open"
    if kind == "invoice_ready":
        failed = invoice is not None and invoice.status == "open" and invoice.attempt_count > 0
        return failed or invoice is None or invoice.status not in ("open", "paid")
    if kind == "usage_threshold":
        return data["period_end"] is not None and data["period_end"] <= str(rfc3339(at))
    if kind in LASTING and type != "subscription.ended":
        bought = ours.subscription
        same = bought is not None and bought.theirs.id == data.get("subscription", data.get("id"))
        return not (same and ours.lives() and _lasts(kind, data, ours, at))
    return False


def _lasts(kind: str, data: dict, ours: Customer, at: int) -> bool:
    theirs = ours.live().theirs
    if kind == "trial_ending":
        ends = theirs.trial_ends_at
        return theirs.status == "trialing" and ends is not None and at < ends and rfc3339(ends) == data["trial_ends_at"]
    if kind == "subscription_paused":
        return theirs.collection_paused or theirs.status == "paused"
    if kind == "subscription_changed":
        change = _change(data)
        if change == "goes_on":
            return not theirs.cancelling
        return change != "to_come" or theirs.scheduled is not None
    if kind == "card_expiring":
        return theirs.card_expires == data["expires"] and not theirs.cancelling
    return theirs.cancelling


def plans(data: dict) -> set[tuple[str, int]]:
    """Slug and version of those that are named in what has happened."""
    return {known for each in _versions(data) if (known := (each["plan"], each["plan_version"])) and all(known)}


def _versions(data: dict) -> list[dict]:
    """Of now, of before, and of what is to come."""
    if "plan_version" not in data:
        return []
    was, to_come = data.get("was", {}), data["scheduled_change"]
    return [data, data | was, *([to_come] if to_come else [])]


def about(kind: str, type: str, data: dict, found: Found, page: str, locale: str, at: int) -> dict:
    """What its letter may say: what has happened, and what is known of it by now. `page`: the product's own."""
    ours, invoice, names = found.ours, found.invoice, found.names
    data = _by_now(data, invoice, at)
    amount = _amount(kind, data, found.upcoming)
    versions = [names.get((each["plan"], each["plan_version"]), each["plan"]) for each in _versions(data)]
    plan, was_plan, coming = (*versions, None, None, None)[:3]
    owed = ours.dunning(found.plan) or {}
    hosted = invoice.links.get("hosted_invoice_url") if invoice else None
    return {
        "type": type,
        "data": data,
        "name": ours.profile.name,
        "lives": ours.lives(),
        "access": ours.lives() and ours.live().access(found.plan, at)[0],
        "plan": plan,
        "was_plan": was_plan,
        "coming": coming,
        "change": _change(data) if kind == "subscription_changed" else None,
        "amount": wording.money(*amount, locale) if amount else None,
        "total": amount[0] if amount else 0,
        "due": found.upcoming is not None,
        "grace_ends_at": _to_come(owed.get("grace_ends_at"), at),
        "link": _link(kind, data, hosted or "", page),
    }


def _by_now(data: dict, invoice: Invoice | None, at: int) -> dict:
    """An attempt that is over is none to come."""
    if not invoice:
        return data
    by_now: dict = {"next_attempt_at": _to_come(rfc3339(invoice.next_attempt_at), at)}
    if invoice.status == "open":
        by_now["amount_due_cents"] = invoice.remaining_cents
    return data | by_now if "invoice" in data else data | invoice.public() | by_now


def _to_come(moment: str | None, at: int) -> str | None:
    """An instant in RFC 3339, unless it is over."""
    return moment if moment and moment > str(rfc3339(at)) else None


def _amount(kind: str, data: dict, upcoming: Upcoming | None) -> tuple[int, str] | None:
    """In the currency's minor units."""
    if upcoming:
        return (upcoming.amount_due_cents, upcoming.currency) if upcoming.amount_due_cents else None
    if kind == "usage_statement":
        return sum(each["due_cents"] for each in data["statements"] if not each["free"]), data["currency"]
    if kind == "invoice_ready" and data["status"] == "paid":
        return data["amount_paid_cents"], data["currency"]
    return (data["amount_due_cents"], data["currency"]) if "amount_due_cents" in data else None


def _link(kind: str, data: dict, invoice: str, page: str) -> str:
    """Where its button leads: to the invoice at Stripe, or to the product's own page. "": nowhere, there is none."""
    if data.get("outcome") in ENDED:
        return page
    if kind == "payment_method_needed":
        return page or invoice
    return (invoice or page) if kind in ("invoice_ready", "payment_recovered", *BY_PROBLEM.values()) else page


def _change(data: dict) -> str:
    """What a subscription_changed tells: made, to_come, withdrawn, goes_on (it was to end, or was paused)."""
    was = data["was"]
    if was.keys() & {"plan", "seats"}:
        return "made"
    if "scheduled_change" in was:
        return "to_come" if data["scheduled_change"] else "withdrawn"
    return "goes_on"


def recipient(ours: Customer, theirs: Contact | None) -> Contact:
    """Our profile says who it is, and where it says nothing Stripe does."""
    mine, other = ours.profile, theirs or Contact()
    return Contact(mine.email or other.email, [*filter(None, [mine.locale]), *other.locales])


def named(address: str) -> str:
    """What an address is called on record: that one has bounced is to be known, and not which."""
    return digest("address", address.strip().lower())
