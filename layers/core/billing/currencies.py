"""What Stripe can charge in a currency."""

# Three decimals of which the last is 0; two decimals that are 00 (Stripe's docs: Supported currencies).
STEPS = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}


def chargeable(currency: str) -> int:
    """What every amount that Stripe can charge in a currency is a multiple of, in the currency's minor units."""
    return STEPS.get(currency, 1)
