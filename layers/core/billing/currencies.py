"""What Stripe can charge in a currency, and how many decimals its amounts have."""

# Three decimals of which the last is 0; two decimals that are 00 (Stripe's docs: Supported currencies).
STEPS = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}
WHOLE = {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}


def chargeable(currency: str) -> int:
    """What every amount that Stripe can charge in a currency is a multiple of, in the currency's minor units."""
    return STEPS.get(currency, 1)


def decimals(currency: str) -> int:
    """Of an amount in the currency's minor units."""
    return 0 if currency in WHOLE else 3 if chargeable(currency) == 10 else 2
