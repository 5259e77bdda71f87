"""Faults on request, as the official library sees them."""

import pytest
import stripe


def create(world, **options):
    return world.v1.customers.create({"email": "a"}, options)


@pytest.mark.parametrize(
    ("kind", "raises", "status", "made"),
    [
        ("rate_limit", stripe.RateLimitError, 429, 0),
        ("lock_timeout", stripe.RateLimitError, 429, 0),
        ("failed", stripe.APIError, 500, 0),
        ("failed_after", stripe.APIError, 500, 1),
        ("card_declined", stripe.CardError, 402, 0),
        ("timeout", stripe.APIConnectionError, None, 1),
        ("unreachable", stripe.APIConnectionError, None, 0),
    ],
)
def test_a_fault_comes_true_as_often_as_asked_and_the_work_is_done_or_not(world, kind, raises, status, made):
    world.simulator.fault(kind, method="POST", path="/v1/customers$", times=2)
    for _ in range(2):
        with pytest.raises(raises) as seen:
            create(world)
        assert seen.value.http_status == status
        assert status != 429 or seen.value.error.code == kind
    assert len(world.simulator.customers) == 2 * made
    assert create(world).id


def test_a_fault_waits_for_the_call_it_names(world):
    world.simulator.fault("failed", method="GET", path="/v1/customers/")
    customer = create(world).id
    assert world.v1.customers.list().data
    with pytest.raises(stripe.APIError):
        world.v1.customers.retrieve(customer)


def test_faults_can_be_taken_back(world):
    world.simulator.fault("failed", times=100)
    world.simulator.faults.clear()
    assert create(world).id


def test_there_is_no_fault_of_another_name(world):
    with pytest.raises(ValueError):
        world.simulator.fault("earthquake")
