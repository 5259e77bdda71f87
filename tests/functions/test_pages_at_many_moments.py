"""A page of Checkout against everything else, at every moment; and a record whose maps come in another order."""

import pytest

from billing import customer_table, dynamodb
from billing.holds import PATIENCE

PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
ORDER = {"plan_slug": "team", "quantity": 5} | PAGE
CARD = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


class Death(BaseException): ...


def record(customer="ada"):
    return customer_table.find(customer, 0)


def live(stripe, customer):
    theirs = record(customer).stripe_id
    mine = [each for each in stripe.subscriptions.values() if each["customer"] == theirs]
    return [each["id"] for each in mine if each["status"] not in ("canceled", "incomplete_expired", "incomplete")]


def reorder(parsed, **_):
    """DynamoDB's maps have no order (docs: Data types, Map); moto's happen to have the order of the write."""

    def turned(value):
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in sorted(value, reverse=True)}
        return [turned(each) for each in value] if isinstance(value, list) else value

    for part in ("Item", "Items"):
        if part in parsed:
            parsed[part] = turned(parsed[part])


def test_a_page_found_by_recovery_is_the_same_page_whatever_the_order_of_a_map(api, plans, stripe, moments, clock):
    dynamodb.db().meta.events.register("after-call.dynamodb", reorder)
    api("PUT", "/customer", {})

    def die():
        raise Death

    moments.once("after post", die)
    with pytest.raises(Death):
        api("POST", "/checkout", ORDER)
    clock.pass_by(seconds=PATIENCE)
    api("POST", "/portal", {"return_url": "https://localhost/"})
    first = api("POST", "/checkout", ORDER)
    again = api("POST", "/checkout", ORDER)
    assert (first.status, again.status) == (200, 200)
    states = [each["status"] for each in stripe.checkout_sessions.values()]
    assert (first.json["id"] == again.json["id"], states) == (True, ["open"])


WISHES = {
    "subscribe": ("/subscription", CARD),
    "unpaid": ("/subscription", {"plan_slug": "team", "quantity": 5}),
    "other": ("/checkout", ORDER | {"plan_slug": "pro"}),
    "same": ("/checkout", ORDER),
}
KINDS = ("get", "post", "PutItem", "TransactWriteItems", "GetItem")


def settle(hear, clock):
    hear()
    clock.pass_by(seconds=PATIENCE)
    hear()


@pytest.mark.parametrize("wish", WISHES)
def test_completed_at_every_moment_there_is_one(api, plans, stripe, moments, hear, clock, wish):
    wrong = []
    for number in range(3, 200, 29):
        customer, seen = f"c-{number}", [0]
        session = api("POST", "/checkout", ORDER, customer=customer).json["id"]

        def act(now, session=session, seen=seen, number=number):
            if now.split()[1] not in KINDS:
                return
            if seen[0] == number and stripe.checkout_sessions[session]["status"] == "open":
                stripe.complete_checkout(session)
            seen[0] += 1

        moments.append(act)
        answer = api("POST", WISHES[wish][0], WISHES[wish][1], customer=customer)
        moments.remove(act)
        done = seen[0] <= number
        hear()
        if len(live(stripe, customer)) > 1 or record(customer).pending or answer.status >= 500:
            wrong.append((number, answer.status, answer.json, live(stripe, customer), record(customer).pending))
        sub = record(customer).subscription
        if live(stripe, customer) and (not sub or sub.theirs.id not in live(stripe, customer)):
            wrong.append((number, "record", sub and sub.theirs.id, live(stripe, customer)))
        if done:
            break
    assert not wrong


@pytest.mark.parametrize("wish", WISHES)
def test_dead_at_every_moment_and_then_completed_there_is_one(api, plans, stripe, moments, hear, clock, wish):
    wrong = []
    for number in range(3, 200, 29):
        customer, seen = f"d-{number}", [0]
        api("POST", "/checkout", ORDER, customer=customer)

        def act(now, seen=seen, number=number):
            if now.split()[1] not in KINDS:
                return
            seen[0] += 1
            if seen[0] == number + 1:
                raise Death

        moments.append(act)
        died = False
        try:
            api("POST", WISHES[wish][0], WISHES[wish][1], customer=customer)
        except Death:
            died = True
        moments.remove(act)
        for id, each in list(stripe.checkout_sessions.items()):
            if each["customer"] == record(customer).stripe_id and each["status"] == "open":
                stripe.complete_checkout(id)
        hear()
        clock.pass_by(seconds=PATIENCE)
        answer = api("POST", "/subscription", CARD, customer=customer)
        if len(live(stripe, customer)) != 1 or answer.status not in (200, 409):
            wrong.append((number, answer.status, answer.json, live(stripe, customer), record(customer).pending))
        if not died:
            break
    assert not wrong


@pytest.mark.parametrize("outer", ["subscribe", "other", "unpaid"])
@pytest.mark.parametrize("inner", ["subscribe", "other", "unpaid"])
def test_two_wishes_at_every_moment_of_each_other_there_is_one(api, plans, stripe, moments, hear, clock, outer, inner):
    wrong = []
    for number in range(3, 200, 29):
        customer, seen = f"e-{number}", [0]
        api("POST", "/checkout", ORDER, customer=customer)

        def act(now, seen=seen, number=number, customer=customer):
            if now.split()[1] not in KINDS:
                return
            seen[0] += 1
            if seen[0] == number + 1:
                api("POST", WISHES[inner][0], WISHES[inner][1], customer=customer)

        moments.append(act)
        api("POST", WISHES[outer][0], WISHES[outer][1], customer=customer)
        moments.remove(act)
        for id, each in list(stripe.checkout_sessions.items()):
            if each["customer"] == record(customer).stripe_id and each["status"] == "open":
                stripe.complete_checkout(id)
        settle(hear, clock)
        answer = api("POST", "/subscription", CARD, customer=customer)
        if len(live(stripe, customer)) != 1:
            wrong.append((number, answer.status, answer.json, live(stripe, customer), record(customer).pending))
        if seen[0] <= number:
            break
    assert not wrong


def test_a_dead_hold_whose_wish_is_refused_by_now_is_released(api, plans, stripe, moments, hear, clock):
    """Ada dies subscribing, pays on the page instead, and tries the first again: 409. Nothing is in flight."""
    page = api("POST", "/checkout", ORDER).json["id"]

    def die():
        raise Death

    moments.once("before post", die)
    with pytest.raises(Death):
        api("POST", "/subscription", CARD)
    stripe.complete_checkout(page)
    hear()
    clock.pass_by(seconds=PATIENCE)
    assert api("POST", "/subscription", CARD).json["code"] == "already_subscribed"

    assert (api("GET", "/subscription").json["pending_change"], record().pending) == (None, None)


@pytest.mark.parametrize("wish", WISHES)
def test_wished_at_every_moment_of_the_events_of_a_page_there_is_one(api, plans, stripe, moments, hear, clock, wish):
    wrong = []
    for number in range(3, 200, 29):
        customer, seen = f"f-{number}", [0]
        session = api("POST", "/checkout", ORDER, customer=customer).json["id"]
        hear()
        stripe.complete_checkout(session)

        def act(now, seen=seen, number=number, customer=customer):
            if now.split()[1] not in KINDS:
                return
            seen[0] += 1
            if seen[0] == number + 1:
                api("POST", WISHES[wish][0], WISHES[wish][1], customer=customer)

        moments.append(act)
        hear()
        moments.remove(act)
        settle(hear, clock)
        if len(live(stripe, customer)) != 1 or record(customer).pending or record(customer).checkout:
            wrong.append((number, live(stripe, customer), record(customer).pending, record(customer).checkout))
        if seen[0] <= number:
            break
    assert not wrong
