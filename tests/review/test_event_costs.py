"""What one event may cost, and what is written in the log of whose id is an e-mail address."""

import logging
import time

import pytest

from billing import sweeping
from tests.functions.at_stripe import Death

TEAM_ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


def test_no_log_tells_an_id_that_is_an_e_mail_address(api, plans, stripe, clock, moments, caplog):
    """MATCH=email takes the address as the id."""
    api("POST", "/subscription", TEAM_ORDER, customer="ada@example.com")
    posts = iter(range(1, 99))

    def die(now):
        if now == "after post" and next(posts) == 2:
            moments.remove(die)
            raise Death

    moments.append(die)
    with pytest.raises(Death):
        api("PUT", "/subscription/seats", {"quantity": 8}, customer="ada@example.com")
    clock.pass_by(minutes=2)
    caplog.set_level(logging.INFO)
    caplog.clear()
    sweeping.holds(int(clock.now()), time.monotonic() + 60, None)

    assert [each for each in caplog.records if each.getMessage() == "HoldsRecovered"]
    assert not [each.getMessage() for each in caplog.records if "ada@example.com" in str(vars(each))]
