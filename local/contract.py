"""
What the tools share with the functions, so that there is no second copy of it: what PUT /plans/{slug} takes, who may be
a customer, which prices a plan can stand for, and how Stripe is spoken to.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT / "layers/core"), str(ROOT / "functions")]
for table in ("PLANS_TABLE", "SUBSCRIPTIONS_TABLE", "USAGE_TABLE", "WEBHOOK_EVENTS_TABLE"):
    os.environ.setdefault(
        table, "none"
    )  # the functions' modules ask for their names at import; no table is opened here

from billing import errors, gateway, prices, translation  # noqa: E402
from billing.holds import nameable  # noqa: E402
from billing.offers import Offer  # noqa: E402
from billing.plans import SLUG  # noqa: E402
from billing.theirs import ENDED  # noqa: E402

__all__ = ["ENDED", "SLUG", "Offer", "errors", "gateway", "nameable", "prices", "translation"]
