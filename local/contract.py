"""
What the tools share with the functions, so that there is no second copy of it: what PUT /plans/{slug} takes, who may be
a customer, which prices a plan can stand for, and how Stripe is spoken to.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "layers/core"))

from billing import errors, gateway, letters, mails, prices, translation, wording
from billing.customers import Customer, Profile
from billing.dunning import Case
from billing.holds import nameable
from billing.invoices import Invoice, Upcoming
from billing.mails import Found
from billing.offers import Offer
from billing.plans import SLUG, Plan
from billing.subscriptions import taken_up
from billing.theirs import ENDED, Schedule, Theirs

__all__ = [
    "ENDED",
    "SLUG",
    "Case",
    "Customer",
    "Found",
    "Invoice",
    "Offer",
    "Plan",
    "Profile",
    "Schedule",
    "Theirs",
    "Upcoming",
    "errors",
    "gateway",
    "letters",
    "mails",
    "nameable",
    "prices",
    "taken_up",
    "translation",
    "wording",
]
