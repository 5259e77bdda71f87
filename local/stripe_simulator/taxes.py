"""Automatic tax: one exclusive rate for all, on every line after its discounts."""

from fractions import Fraction

from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record
from local.stripe_simulator.discounts import net
from local.stripe_simulator.errors import invalid
from local.stripe_simulator.proration import rounded

RATE = "txr_simulator"
EXEMPTIONS = {"exempt": "customer_exempt", "reverse": "reverse_charge"}


def need_location(customer: Record) -> None:
    if not _located(customer):
        raise invalid(
            "The customer's location isn't recognized. Set a valid customer address in order to automatically "
            "calculate tax.",
            code="customer_tax_location_invalid",
        )


def _located(customer: Record) -> bool:
    return bool((customer["address"] or {}).get("country"))


def levy(account: Account, invoice: Record, customer: Record) -> None:
    """Bring the taxes of a draft in line with its lines. Without a location none are reckoned, and it says so."""
    lines, tax = invoice["lines"]["data"], invoice["automatic_tax"]
    if not tax["enabled"]:
        return
    known = _located(customer)
    tax.update(status="complete" if known else "requires_location_inputs", provider="stripe")
    exemption = EXEMPTIONS.get(customer["tax_exempt"])
    percent = Fraction(0) if exemption else Fraction(account.settings.tax_percent)
    reason = exemption or ("standard_rated" if percent else "not_collecting")
    for line in lines:
        base = net(line)
        line["taxes"] = [_tax(rounded(base * percent / 100), base, reason)] if known else []
    taxed = [line["taxes"][0] for line in lines if line["taxes"]]
    amount, base = sum(one["amount"] for one in taxed), sum(one["taxable_amount"] for one in taxed)
    invoice["total_taxes"] = [_tax(amount, base, reason)] if taxed else []


def _tax(amount: int, base: int, reason: str) -> Record:
    return {
        "amount": amount,
        "tax_behavior": "exclusive",
        "tax_rate_details": {"tax_rate": RATE},
        "taxability_reason": reason,
        "taxable_amount": base,
        "type": "tax_rate_details",
    }
