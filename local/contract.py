"""
What the tools share with the functions, so that there is no second copy of it: what PUT /plans/{slug} takes, who may be
a customer, which prices a plan can stand for, and how Stripe is spoken to.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "layers/core"))

from billing import errors, gateway, prices, translation
from billing.holds import nameable
from billing.offers import Offer
from billing.plans import SLUG
from billing.theirs import ENDED

__all__ = ["ENDED", "SLUG", "Offer", "errors", "gateway", "nameable", "prices", "translation"]
