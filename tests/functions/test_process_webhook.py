import json
from random import Random

import pytest
from botocore.exceptions import EndpointConnectionError

import bury_webhook
import process_webhook
from billing import customer_table, dynamodb, queue, secrets, webhook_table
from billing.webhooks import envelope
from tests.functions.at_stripe import ask, batch, row, sample

SEED = 20261123


def record(customer="ada"):
    return customer_table.find(customer, 0)


def change_at_stripe(stripe, subscription, **params):
    """In Stripe's dashboard, say; answers the events that tell of it."""
    known = set(stripe.events)
    status, said = stripe.handle("POST", f"/v1/subscriptions/{subscription}", params)
    assert status == 200, said
    return [stripe.events[id] for id in stripe.events if id not in known]


def seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    return change_at_stripe(stripe, subscription, items={"0": {"id": item, "quantity": str(quantity)}})


def updated(events):
    return [event for event in events if event["type"] == "customer.subscription.updated"][:1]


def test_what_stripe_says_becomes_our_record_with_one_fetch_for_all_its_events(process, stripe, subscribed, said):
    events = updated(seats(stripe, subscribed["id"], 9)) + updated(seats(stripe, subscribed["id"], 7))
    stripe.calls.clear()

    assert process(batch(events)) == []
    assert record().subscription.theirs.quantity == 7
    assert [row(event["id"]) for event in events] == [["done", 0]] * 2
    assert said("GET") == {"/v1/subscriptions/{id}": 1}


def test_a_duplicate_has_no_effect_and_does_not_cost_its_neighbour(process, stripe, subscribed):
    first, second = (*updated(seats(stripe, subscribed["id"], 9)), *updated(seats(stripe, subscribed["id"], 7)))
    process(batch([first]))
    version = record().version

    assert process(batch([first])) == [] and record().version == version
    seats(stripe, subscribed["id"], 6)
    assert process(batch([first, first, second])) == [] and record().subscription.theirs.quantity == 6
    assert row(second["id"]) == ["done", 0]


def test_an_event_that_changes_nothing_is_marked_and_moves_nothing(process, stripe, subscribed):
    (event,) = [each for each in stripe.events.values() if each["type"] == "customer.subscription.created"]
    version = record().version

    assert process(batch([event])) == []
    assert (record().version, row(event["id"])) == (version, ["done", 0])


def test_a_failed_event_is_tried_again_and_never_called_a_duplicate(process, stripe, subscribed):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    for _ in range(5):
        stripe.fault("failed", method="GET", path="/v1/subscriptions/.*", times=2)  # and the library's own retry

    assert [len(process(batch([event]))) for _ in range(5)] == [1, 1, 1, 1, 0]  # then its group is free
    assert (*row(event["id"])[:2], "Failed" in row(event["id"])[2]) == ("failed", 5, True)
    assert process(batch([event])) == []
    assert (row(event["id"]), record().subscription.theirs.quantity) == (["done", 0], 9)


def test_an_event_that_failed_once_succeeds_on_its_retry(process, stripe, subscribed):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    stripe.fault("failed", method="GET", path="/v1/subscriptions/.*", times=2)

    assert len(process(batch([event]))) == 1 and row(event["id"])[:2] == ["retrying", 1]
    assert process(batch([event])) == [] and row(event["id"]) == ["done", 0]


def test_a_poisoned_event_does_not_cost_its_neighbours(process, stripe, subscribed):
    (good,) = updated(seats(stripe, subscribed["id"], 9))
    poisoned = good | {"id": "evt_poisoned", "type": "invoice.paid"}
    poisoned["data"] = {
        "object": {"id": "in_gone", "object": "invoice", "customer": good["data"]["object"]["customer"]}
    }
    poisoned["data"]["object"]["parent"] = {"subscription_details": {"subscription": subscribed["id"]}}

    stripe.fault("failed", method="GET", path="/v1/invoices/in_gone", times=10)
    assert process(batch([good, poisoned])) == ["m1"]
    assert (row(good["id"]), row("evt_poisoned")[:2]) == (["done", 0], ["retrying", 1])
    assert record().subscription.theirs.quantity == 9


def test_an_outage_of_stripe_or_a_wrong_key_counts_against_no_event(process, stripe, subscribed, received):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    queue.send(envelope(event))
    waiting = received()
    stripe.fault("unreachable", method="GET", times=40)
    silent = ["retrying", 0, "Unavailable (unavailable) from APIConnectionError from ProtocolError"]
    for _ in range(6):
        assert len(process(waiting)) == 1 and row(event["id"]) == silent
    stripe.faults.clear()
    stripe.api_key = "sk_test_other"
    shut = ["retrying", 0, "Misconfigured (misconfigured) from AuthenticationError"]
    assert len(process(waiting)) == 1 and row(event["id"]) == shut
    stripe.api_key = None
    assert process(waiting) == [] and row(event["id"]) == ["done", 0]


def test_a_rolled_key_is_used_within_a_minute(process, api, stripe, subscribed):
    stripe.api_key = "sk_test_new"
    rolled = {"api_key": "sk_test_new", "webhook_secrets": ["whsec_test"]}
    secrets.manager().put_secret_value(SecretId="stripe", SecretString=json.dumps(rolled))
    assert api("PUT", "/subscription/seats", {"quantity": 6}).json["code"] == "misconfigured"

    secrets._known.clear()  # a minute later
    assert api("PUT", "/subscription/seats", {"quantity": 6}).json["seats"] == 6


def test_a_message_that_cannot_be_hidden_is_delivered_again_all_the_same(process, stripe, subscribed):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    stripe.fault("unreachable", method="GET", times=2)

    assert process(batch([event])) == ["m0"]  # of a receipt that is none
    assert process(batch([event])) == [] and row(event["id"]) == ["done", 0]


def test_when_time_runs_out_the_rest_is_left_for_the_next_delivery(stripe, subscribed, received, context):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    queue.send(envelope(event))
    waiting = received()
    context.get_remaining_time_in_millis = lambda: 5_000
    stripe.calls.clear()

    failures = process_webhook.handler(waiting, context)["batchItemFailures"]
    assert (len(failures), row(event["id"]), stripe.calls) == (1, [], [])


def test_when_stripe_is_busy_the_event_waits_and_it_does_not_count(process, stripe, subscribed, received):
    waits = []
    hear = "before-call.sqs.ChangeMessageVisibility"
    queue.sqs().meta.events.register(hear, lambda params, **_: waits.append(json.loads(params["body"])))
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    queue.send(envelope(event))
    busy = received()  # the queue's own message, which can be hidden
    stripe.fault("rate_limit", method="GET", path="/v1/subscriptions/.*", times=3)

    assert process(busy) == [busy["Records"][0]["messageId"]]
    assert row(event["id"]) == ["retrying", 0, "Busy (stripe_busy) from RateLimitError"]
    assert 1 <= waits[0]["VisibilityTimeout"] <= 2
    assert process(busy) == [] and row(event["id"]) == ["done", 0]


def test_a_write_of_ours_in_between_is_not_covered_by_an_older_answer(process, api, stripe, subscribed, moments):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    moments.once("after get", lambda: api("PUT", "/subscription/seats", {"quantity": 12}))

    assert process(batch([event])) == []
    assert record().subscription.theirs.quantity == 12


def test_a_webhook_between_apply_and_settle_does_no_harm(process, api, stripe, subscribed, moments):
    def told():
        process(batch(list(stripe.events.values())[-8:]))

    moments.once("before TransactWriteItems", told)  # the hold was a put; what comes now is the settlement
    answer = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (answer.status, answer.json["seats"], answer.json["billed"]) == (200, 8, "now")
    assert record().pending is None
    assert api("GET", "/subscription").json["seats"] == 8


def test_a_settlement_that_comes_late_does_not_cover_a_newer_change(process, api, stripe, subscribed, moments):
    def meanwhile():
        process(batch([event for event in stripe.events.values() if event["type"] == "customer.subscription.updated"]))
        assert api("PUT", "/subscription/seats", {"quantity": 9}).json["seats"] == 9

    moments.once("before TransactWriteItems", meanwhile)

    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["seats"] == 8  # and so it was
    assert record().subscription.theirs.quantity == 9 and api("GET", "/subscription").json["seats"] == 9


def test_a_webhook_settles_the_change_of_one_who_died(process, api, stripe, subscribed):
    for kind in ("timeout", "unreachable"):
        stripe.fault(kind, method="POST", path="/v1/subscriptions/sub_.*")
    assert api("PUT", "/subscription/seats", {"quantity": 8}, key="k").status == 503
    process(batch([event for event in stripe.events.values() if event["type"] == "customer.subscription.updated"]))

    assert (record().pending, record().subscription.theirs.quantity) == (None, 8)
    assert api("PUT", "/subscription/seats", {"quantity": 8}, key="k").json["proration"]["net_cents"] > 0


def test_death_before_the_record_leaves_no_marker(process, stripe, subscribed, moments):
    (event,) = updated(seats(stripe, subscribed["id"], 9))

    def die():
        raise KeyboardInterrupt

    moments.once("before TransactWriteItems", die)
    with pytest.raises(KeyboardInterrupt):
        process(batch([event]))

    assert row(event["id"]) == [] and process(batch([event])) == [] and row(event["id"]) == ["done", 0]


@pytest.mark.parametrize("times", range(8))
def test_shuffled_doubled_and_late_the_record_ends_as_stripes(process, api, plans, stripe, times):
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    subscription = api("POST", "/subscription", order).json["id"]
    api("PUT", "/subscription/seats", {"quantity": 8})
    seats(stripe, subscription, 9)
    api("POST", "/subscription/cancel", {})
    change_at_stripe(stripe, subscription, cancel_at_period_end="false")
    stripe.handle("DELETE", f"/v1/subscriptions/{subscription}") if times % 2 else seats(stripe, subscription, 3)
    random = Random(SEED + times)
    told = [event for event in stripe.events.values() for _ in range(random.choice((1, 1, 2)))]
    random.shuffle(told)

    for start in range(0, len(told), 10):
        assert process(batch(told[start : start + 10])) == []
    ours, theirs = record().subscription.theirs, stripe.subscriptions[subscription]
    assert (ours.status, ours.quantity) == (theirs["status"], theirs["items"]["data"][0]["quantity"])
    assert (ours.cancel_at_period_end, ours.cancelled_at) == (theirs["cancel_at_period_end"], theirs["canceled_at"])
    kept = {invoice.id: invoice.status for invoice in customer_table.invoices("ada", 50)}
    assert kept == {id: invoice["status"] for id, invoice in stripe.invoices.items()}
    assert {tuple(row(event["id"])) for event in told} <= {("done", 0), ("ignored", 0)}


def test_a_cancelled_subscription_never_comes_back_by_a_late_event(process, api, stripe, subscribed):
    (late,) = updated(seats(stripe, subscribed["id"], 9))
    api("POST", "/subscription/cancel", {"immediately": True})

    assert process(batch([late])) == []
    assert (record().subscription.theirs.status, api("GET", "/subscription").status) == ("canceled", 404)


def test_an_event_touches_the_subscription_of_its_own_id(process, api, stripe, subscribed):
    (late,) = updated(seats(stripe, subscribed["id"], 9))
    api("POST", "/subscription/cancel", {"immediately": True})
    new = api("POST", "/subscription", {"plan_slug": "pro", "payment_method": "pm_card_visa"}).json

    assert process(batch([late])) == []
    assert (record().subscription.theirs.id, record().subscription.theirs.quantity) == (new["id"], 1)
    assert customer_table.aside("ada", subscribed["id"]).theirs.status == "canceled"


def test_a_second_live_subscription_made_elsewhere_is_recorded_beside_the_first(process, stripe, subscribed):
    theirs = stripe.subscriptions[subscribed["id"]]
    price = theirs["items"]["data"][0]["price"]["id"]
    known = set(stripe.events)
    params = {"customer": theirs["customer"], "items": {"0": {"price": price, "quantity": "2"}}}
    params["default_payment_method"] = theirs["default_payment_method"]
    _, second = stripe.handle("POST", "/v1/subscriptions", params)
    events = [stripe.events[id] for id in stripe.events if id not in known]

    assert process(batch(events)) == []
    assert record().subscription.theirs.id == subscribed["id"]
    assert customer_table.aside("ada", second["id"]).theirs.quantity == 2


@pytest.mark.parametrize("first", ["the old one ends", "the new one begins"])
def test_when_the_live_one_ends_another_that_lives_takes_its_place_in_whatever_order(
    process, api, stripe, subscribed, first
):
    theirs = stripe.subscriptions[subscribed["id"]]
    known, price = set(stripe.events), theirs["items"]["data"][0]["price"]["id"]
    params = {"customer": theirs["customer"], "items": {"0": {"price": price, "quantity": "2"}}}
    params["default_payment_method"] = theirs["default_payment_method"]
    _, second = stripe.handle("POST", "/v1/subscriptions", params)
    begun = [stripe.events[id] for id in stripe.events if id not in known]
    if first == "the new one begins":
        process(batch(begun))
    stripe.handle("DELETE", f"/v1/subscriptions/{subscribed['id']}")
    ended = [event for event in stripe.events.values() if event["type"] == "customer.subscription.deleted"]
    process(batch(ended))
    process(batch(begun))

    assert api("GET", "/subscription").json["id"] == second["id"]
    assert customer_table.aside("ada", subscribed["id"]).theirs.status == "canceled"


def test_a_subscription_made_in_the_dashboard_is_taken_over_if_there_is_none(process, api, plans, stripe):
    api("PUT", "/customer", {"email": "ada@example.com"})
    (customer,) = stripe.customers
    price = next(id for id, each in stripe.prices.items() if each["lookup_key"] == "tollgate_team")
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": customer})
    params = {
        "customer": customer,
        "items": {"0": {"price": price, "quantity": "2"}},
        "default_payment_method": card["id"],
    }
    stripe.handle("POST", "/v1/subscriptions", params)
    process(batch([event for event in stripe.events.values() if event["type"].startswith("customer.subscription")]))

    taken = api("GET", "/subscription").json
    assert (taken["plan"], taken["seats"]) == ("team", 2)


def test_when_stripes_customer_is_deleted_the_next_wish_makes_another(process, api, stripe, subscribed):
    (old,) = stripe.customers
    stripe.handle("DELETE", f"/v1/customers/{old}")
    process(batch([event for event in stripe.events.values() if event["type"] == "customer.deleted"]))

    assert (record().stripe_id, record().subscription.theirs.status) == (None, "canceled")
    back = api("POST", "/subscription", {"plan_slug": "team", "payment_method": "pm_card_visa"})
    assert (back.json["status"], record().stripe_id != old) == ("active", True)


def test_an_event_of_a_customer_who_is_not_ours_is_ignored(process, stripe, plans):
    stripe.handle("POST", "/v1/customers", {"email": "x@example.com"})
    event = next(event for event in stripe.events.values() if event["type"] == "customer.created")
    about = {"id": "sub_x", "object": "subscription", "customer": event["data"]["object"]["id"]}
    foreign = event | {"id": "evt_x", "type": "customer.subscription.updated", "data": {"object": about}}

    assert process(batch([foreign])) == [] and row("evt_x") == ["ignored", 0]


def test_an_unknown_type_is_recorded_as_ignored(process, stripe, enqueued):
    assert process(enqueued("invoice.paid", type="no.such.event")) == []
    assert (row("evt_1"), stripe.calls) == (["ignored", 0], [])


def test_an_unknown_status_keeps_the_access_of_the_last_known_one_and_allows_no_change(
    process, api, stripe, subscribed
):
    events = updated(seats(stripe, subscribed["id"], 9))
    stripe._account.tables["subscription"][subscribed["id"]]["status"] = "dormant"  # Stripe has never said this
    process(batch(events))

    told = api("GET", "/subscription").json
    assert (told["status"], told["access"], told["seats"]) == ("dormant", True, 9)
    assert api("PUT", "/subscription/seats", {"quantity": 10}).json["code"] == "not_changeable"


def test_where_nothing_follows_state_and_marks_are_one_transaction(process, stripe, subscribed, moments):
    events = updated(seats(stripe, subscribed["id"], 9)) + updated(seats(stripe, subscribed["id"], 7))
    asked = []
    moments.append(lambda now: asked.append(now.removeprefix("before ")) if now.startswith("before ") else None)

    assert process(batch(events)) == []
    assert asked == ["GetItem", "GetItem", "get", "TransactWriteItems"]  # whose it is, the record, what Stripe says
    assert record().subscription.theirs.quantity == 7 and row(events[0]["id"]) == ["done", 0]


def test_that_an_event_waits_is_noted_neither_over_its_end_nor_at_the_cost_of_its_neighbours(
    process, api, stripe, subscribed, moments
):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    (late,) = updated(seats(stripe, subscribed["id"], 7))
    process(batch([event]))
    stripe.fault("unreachable", method="GET", times=2)
    assert process(batch([event, late])) == ["m0", "m1"]
    assert (row(event["id"]), row(late["id"])[:2]) == (["done", 0], ["retrying", 0])

    def unreachable():
        raise EndpointConnectionError(endpoint_url="dynamodb")

    stripe.fault("unreachable", method="GET", times=2)
    moments.once("before PutItem", unreachable)
    assert process(batch([late])) == ["m0"]


def test_what_no_worker_lived_to_finish_is_buried_with_its_reason(process, stripe, subscribed, context):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    bury_webhook.handler(batch([event]), context)

    assert row(event["id"])[0] == "failed"
    assert process(batch([event])) == [] and row(event["id"]) == ["done", 0]
    bury_webhook.handler(batch([event]), context)  # late: what is done stays done
    assert row(event["id"]) == ["done", 0]


def test_what_is_done_is_not_told_to_be_buried(process, stripe, subscribed, context, caplog):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    process(batch([event]))

    bury_webhook.handler(batch([event]), context)
    assert "buried" not in caplog.text


def test_one_that_is_buried_keeps_why_it_waited_and_how_often_it_was_replayed(process, stripe, subscribed, context):
    (event,) = updated(seats(stripe, subscribed["id"], 9))
    bury_webhook.handler(batch([event]), context)
    assert webhook_table.replays(webhook_table.find(event["id"]))
    stripe.fault("unreachable", method="GET", times=2)
    process(batch([event]))

    bury_webhook.handler(batch([event]), context)
    buried = webhook_table.find(event["id"])
    assert (buried.outcome, buried.replays) == ("failed", 1) and "(unavailable)" in str(buried.error)


def test_invoices_are_listed_with_fresh_links(process, api, stripe, subscribed):
    process(batch([event for event in stripe.events.values() if event["type"].startswith("invoice.")]))
    (invoice,) = api("GET", "/invoices").json["invoices"]

    assert (invoice["status"], invoice["total_cents"], invoice["amount_paid_cents"]) == ("paid", 6000, 6000)
    assert invoice["hosted_invoice_url"] and invoice["invoice_pdf"]
    kept = dynamodb.query("Subscriptions", "customer#ada", "invoice#")
    assert kept[0]["links"] == {}
    assert api("GET", "/invoices", customer="bob").json == {"invoices": [], "next": None}


def test_an_event_of_a_draft_that_was_deleted_at_stripe_does_no_harm(api, subscribed, stripe, hear):
    hear()
    customer = record().stripe_id
    _, draft = stripe.handle("POST", "/v1/invoices", {"customer": customer})
    assert stripe.handle("DELETE", f"/v1/invoices/{draft['id']}")[0] == 200
    late = hear()
    rows = dynamodb.db().scan(TableName="WebhookEvents")["Items"]
    failing = [row for row in rows if row["outcome"]["S"] in ("retrying", "failed")]
    assert (late, failing) == (set(), [])


def test_that_an_older_stripe_customer_is_deleted_does_not_take_the_one_there_is(process, api, stripe, subscribed):
    before = record()
    dynamodb.transact([dynamodb.put("Subscriptions", {"pk": "stripe#cus_old", "sk": "customer", "customer": "ada"})])

    assert process(batch([sample("customer.deleted", cus="cus_old")])) == []
    assert (record().stripe_id, record().live()) == (before.stripe_id, before.live())


def test_an_invoice_that_is_a_draft_is_on_no_record(process, stripe, subscribed):
    customer = record().stripe_id
    ask(stripe, "POST", "/v1/invoiceitems", customer=customer, amount="900", currency="usd")
    draft = ask(stripe, "POST", "/v1/invoices", customer=customer, pending_invoice_items_behavior="include")["id"]

    assert process(batch([sample("invoice.created", cus=customer, sub=subscribed["id"], **{"in": draft})])) == []
    assert draft not in {each.id for each in customer_table.invoices("ada", 50)}


def test_an_event_is_remembered_for_as_long_as_stripe_may_send_it_again(process, stripe, subscribed):
    told = sample("customer.updated", cus=record().stripe_id)
    process(batch([told]))
    assert dynamodb.get("WebhookEvents", id=told["id"])["expires"] >= told["created"] + 30 * 86_400
