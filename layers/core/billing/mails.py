"""Which mail is sent of what has happened."""

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
            unpaid = data["status"] == "open" and not data["attempt_count"]
            ready = data["new"] and data["amount_due_cents"] > 0 and (unpaid or data["status"] == "paid")
            return "invoice_ready" if ready else None
    return BY_TYPE.get(type)


def _changed(data: dict, was: dict) -> str | None:
    if was.get("status") == "incomplete":
        return None
    if was.get("status") == "trialing":
        return "trial_ended"
    if "cancel_at" in was or "cancel_at_period_end" in was:
        cancels = data["cancel_at"] or data["cancel_at_period_end"]
        return "subscription_cancelled" if cancels else "subscription_changed"
    if "collection_paused" in was or "paused" in (data["status"], was.get("status")):
        paused = data["collection_paused"] or data["status"] == "paused"
        return "subscription_paused" if paused else "subscription_changed"
    return "subscription_changed" if was.keys() & {"plan", "seats", "scheduled_change"} else None
