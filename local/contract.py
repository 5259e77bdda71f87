"""What PUT /plans/{slug} takes: the function's own model, so that there is no second copy of it."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT / "layers/core"), str(ROOT / "functions")]
for table in ("PLANS_TABLE", "SUBSCRIPTIONS_TABLE", "USAGE_TABLE", "WEBHOOK_EVENTS_TABLE"):
    os.environ.setdefault(
        table, "none"
    )  # the functions' modules ask for their names at import; no table is opened here

from billing.plans import SLUG  # noqa: E402
from put_plan import Offer  # noqa: E402

__all__ = ["SLUG", "Offer"]
