from hypothesis import given
from hypothesis import strategies as st

from billing.proration import Line, Proration


def test_an_upgrade_is_charged_less_what_it_gives_back():
    told = Proration("usd", 1_790_000_000, [Line("unused", -1000), Line("remaining", 2500)]).public()

    assert (told["credit_cents"], told["charge_cents"], told["net_cents"]) == (1000, 2500, 1500)
    assert told["effective_at"] == "2026-09-21T14:13:20Z"


@given(st.lists(st.integers(-(10**9), 10**9)))
def test_the_net_is_the_sum_of_the_lines_and_credits_and_charges_are_never_negative(amounts):
    proration = Proration("usd", 0, [Line("", amount) for amount in amounts])

    assert proration.net_cents == sum(amounts)
    assert proration.credit_cents >= 0 and proration.charge_cents >= 0
