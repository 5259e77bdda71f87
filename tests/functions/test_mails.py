"""Mails: each is sent once, to whom it is for, as long as it is true; and nothing that hinders it hinders billing."""

import json
from itertools import count, product

import pytest
from botocore.exceptions import EndpointConnectionError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

import note_bounce
import send_mail
import sweep
from billing import customer_table, dynamodb, mail_table, mails, outbox, records, ses
from billing.domain_events import Happened
from billing.errors import Unavailable
from tests.functions.at_stripe import Death

CANCEL = ("POST", "/subscription/cancel", {})
OWED = {
    "subscription": "sub_1",
    "since": "2026-11-20T00:00:00Z",
    "amount_due_cents": 6000,
    "currency": "usd",
    "problem": "declined",
    "step": 0,
    "steps": 5,
    "day": 0,
    "ends": "end_access",
    "next_step_at": None,
    "next_attempt_at": None,
    "outcome": None,
}


@pytest.fixture
def post_office(aws, moments, monkeypatch):
    """SES as the deployer has set it up, and every kind of mail; answers what has been sent."""
    monkeypatch.setenv("MAILS", ",".join(mails.KINDS))
    monkeypatch.setenv("MAIL_FROM", "billing@example.com")
    monkeypatch.setenv("MAIL_NAME", "Acme")
    ses.ses.cache_clear()
    ses.ses().create_email_identity(EmailIdentity="billing@example.com")
    for when in ("before", "after"):

        def hear(model, when=when, **_):
            moments.tell(when, model.name)

        ses.ses().meta.events.register(f"{when}-call", hear)
    yield lambda: ses_backends[DEFAULT_ACCOUNT_ID]["eu-west-1"].sent_messages
    ses.ses.cache_clear()


@pytest.fixture
def told(clock):
    """Something has happened to Ada; answers its sequence."""

    def tell(type, data):
        assert records.tell("ada", [Happened(type, data)], [], int(clock.now()))
        return customer_table.find("ada", 0).told

    return tell


@pytest.fixture
def ada(post_office, subscribed, api):
    """She can be written to, and nothing is waiting."""
    assert api("PUT", "/customer", {"email": "ada@example.com", "name": "Ada"}).status == 200
    clear()


@pytest.fixture
def owes(ada, stripe, told):
    """Her payment has failed, and that is to be told; the sequence of it."""
    (invoice,) = stripe._account.tables["invoice"].values()
    invoice |= {"status": "open", "amount_remaining": invoice["amount_due"]}
    return told("dunning.step_taken", OWED | {"invoice": invoice["id"]})


@pytest.fixture
def post(context):
    return lambda sequence, customer="ada": send_mail.handler({"customer": customer, "sequence": sequence}, context)


def row(sequence, customer="ada"):
    return dynamodb.get(mail_table.TABLE, pk=f"customer#{customer}", sk=f"mail#{sequence:012}")


def waiting():
    return [sequence for _, sequence in mail_table.waiting(2**40, None)[0]]


def clear():
    for sequence in waiting():
        mail = mail_table.claim("ada", sequence, 0)
        assert mail
        mail_table.mark(mail, "sent", 0)


def anomalies(caplog):
    return [record.msg for record in caplog.records if vars(record).get("Anomalies") == 1]


def test_a_change_is_told_to_whoever_has_made_it(ada, api, post_office, context, caplog):
    assert api(*CANCEL).status == 200
    (sequence,) = waiting()
    event = {"customer": "ada", "sequence": sequence, "mail": "subscription_cancelled"}
    send_mail.handler({"source": "tollgate", "detail": event}, context)  # as the bus hands it in

    (sent,) = post_office()
    assert (sent.source, sent.destinations["ToAddresses"]) == ("Acme <billing@example.com>", ["ada@example.com"])
    assert sent.subject == "Your subscription to Acme is cancelled"
    assert "Hello Ada" in sent.body and "subscription to Team is cancelled" in sent.body
    told = row(sequence)
    assert (told["outcome"], told["kind"], waiting()) == ("sent", "subscription_cancelled", [])
    assert told["expires"] > told["sent_at"] and not told.keys() & {"waits", "since", "leased_until", "leased_by"}
    assert "ada@example.com" not in caplog.text + repr([vars(record) for record in caplog.records])


def test_a_failed_payment_leads_to_the_page_where_it_is_paid(owes, post, post_office, stripe):
    post(owes)
    (sent,) = post_office()
    (invoice,) = stripe.invoices.values()
    assert sent.subject == "Your payment of USD 60.00 did not go through"
    assert f'href="{invoice["hosted_invoice_url"]}"' in sent.body
    assert invoice["hosted_invoice_url"] not in json.dumps(row(owes), default=str)


def test_however_often_it_is_asked_for_it_is_sent_once(owes, post, post_office, clock):
    for _ in range(2):
        post(owes)
    clock.pass_by(hours=1)
    post(owes)
    assert len(post_office()) == 1


@pytest.mark.parametrize("moment", ["after UpdateItem", "before SendEmail", "after SendEmail"])
def test_who_comes_while_it_is_being_sent_sends_nothing(owes, post, post_office, moments, moment):
    moments.once(moment, lambda: post(owes))
    post(owes)
    assert (len(post_office()), row(owes)["outcome"]) == (1, "sent")


def test_a_second_one_only_if_the_sender_dies_between_sending_and_marking(ada, told, post, post_office, moments, clock):
    """At every other moment its death leaves exactly one."""
    twice = []
    for moment in count():
        sequence, before, heard = told("usage.threshold_reached", USED), len(post_office()), []
        passed = iter(range(moment))

        def die(now, passed=passed, heard=heard):
            heard.append(now)
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            post(sequence)
        except Death:
            pass
        else:
            break
        finally:
            moments.remove(die)
        clock.pass_by(seconds=mail_table.LEASE)
        post(sequence)
        assert (row(sequence)["outcome"], waiting()) == ("sent", []), heard
        if len(post_office()) - before > 1:
            twice.append(heard)
        assert 1 <= len(post_office()) - before <= 2
    assert moment > 12
    assert [heard[-1] for heard in twice] == ["after SendEmail", "before UpdateItem"]
    assert all("after SendEmail" in heard for heard in twice)


USED = {"metric": "api_calls", "percent": 80, "limit": 1000, "used": 801, "period_end": None}
USED |= dict.fromkeys(("period_start", "crossed_at"), "2026-11-23T00:00:00Z")


def test_the_language_is_the_customers(ada, api, told, post, post_office, stripe, monkeypatch):
    (theirs,) = stripe._account.tables["customer"].values()
    said = []
    for ours, at_stripe, otherwise in (
        ("de", [], "en"),
        (None, ["de-AT"], "en"),
        (None, ["fr"], "de"),
        ("fr", [], "en"),
    ):
        assert api("PUT", "/customer", {"email": "ada@example.com", "locale": ours}).status == 200
        theirs["preferred_locales"] = at_stripe
        monkeypatch.setenv("MAIL_LOCALE", otherwise)
        post(told("usage.threshold_reached", USED))
        said.append("Guten Tag" in post_office()[-1].body)
    assert said == [True, True, True, False]


def test_without_an_address_of_ours_stripes_is_written_to(ada, api, told, post, post_office, stripe, caplog):
    assert api("PUT", "/customer", {"name": "Ada"}).status == 200
    (theirs,) = stripe._account.tables["customer"].values()
    theirs["email"] = "billing@ada.example"
    post(told("usage.threshold_reached", USED))
    assert post_office()[-1].destinations["ToAddresses"] == ["billing@ada.example"]

    theirs["email"] = None
    nowhere = told("usage.threshold_reached", USED)
    post(nowhere)
    assert (len(post_office()), row(nowhere)["outcome"]) == (1, "no_address")
    assert (anomalies(caplog), waiting()) == (["mail_unaddressed"], [])


def test_a_sender_that_ses_refuses_is_told_once_and_what_waits_is_sent_when_that_is_mended(
    owes, post, post_office, api, context, clock, caplog
):
    ses.ses().delete_email_identity(EmailIdentity="billing@example.com")
    for _ in range(3):
        post(owes)
    assert (row(owes)["attempts"], row(owes)["error"], waiting()) == (3, "MessageRejected", [owes])
    assert anomalies(caplog) == ["mail_refused"]
    assert api(*CANCEL).status == 200  # billing goes on

    ses.ses().create_email_identity(EmailIdentity="billing@example.com")
    post(owes)
    assert (len(post_office()), row(owes)["outcome"]) == (1, "sent")


def test_while_ses_is_away_it_waits_and_after_three_days_it_is_too_late(
    owes, post, post_office, moments, clock, caplog
):
    def away(now):
        if now == "before SendEmail":
            raise EndpointConnectionError(endpoint_url="https://email.eu-west-1.amazonaws.com")

    moments.append(away)
    with pytest.raises(Unavailable):
        post(owes)
    assert (row(owes)["error"], waiting()) == ("unavailable", [owes])
    moments.remove(away)
    clock.pass_by(seconds=mails.LATE)
    post(owes)
    assert (post_office(), row(owes)["outcome"], waiting()) == ([], "late", [])
    assert anomalies(caplog) == ["mail_late"]


def test_what_waits_gets_a_schedule_from_the_sweep_and_is_counted_when_it_is_old(
    owes, context, schedules, clock, caplog
):
    clock.pass_by(seconds=200)
    sweep.handler({}, context)
    made = [json.loads(each["Target"]["Input"]) for name, each in schedules().items() if name.startswith("mail-")]
    assert made == [{"customer": "ada", "sequence": owes}]
    clock.pass_by(hours=1)
    sweep.handler({}, context)
    counts = [vars(each)["OldMails"] for each in caplog.records if "OldMails" in vars(each)]
    assert counts == [0, 1]


def test_an_invoice_that_is_paid_by_now_is_not_asked_for(owes, post, post_office, stripe):
    (invoice,) = stripe._account.tables["invoice"].values()
    invoice["status"] = "paid"
    post(owes)
    assert (post_office(), row(owes)["outcome"], waiting()) == ([], "obsolete", [])


def test_what_is_switched_off_has_no_row_and_what_is_switched_off_since_is_not_sent(
    owes, post, post_office, told, api, monkeypatch
):
    monkeypatch.setenv("MAILS", "invoice_ready")
    post(owes)
    assert (post_office(), row(owes)["outcome"]) == ([], "switched_off")
    monkeypatch.setenv("MAILS", "")
    before = customer_table.find("ada", 0).told
    assert api(*CANCEL).status == 200
    assert customer_table.find("ada", 0).told > before and waiting() == []


def test_the_end_of_a_trial_is_told_with_what_it_will_cost(post_office, api, stripe, told, post):
    """As Stripe reckons it when the mail is sent."""
    plan = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000, "trial_days": 14}
    assert api("PUT", "/plans/team", plan).status == 200
    assert api("PUT", "/customer", {"email": "ada@example.com"}).status == 200
    order = {"plan_slug": "team", "quantity": 1, "payment_method": "pm_card_visa"}
    assert api("POST", "/subscription", order).json["status"] == "trialing"
    clear()
    stands = api("GET", "/subscription").json
    del stands["dunning"]  # it has events of its own
    post(told("subscription.trial_ending", stands))
    assert "USD 20.00 is charged" in post_office()[-1].body
    assert api(*CANCEL).status == 200
    post(told("subscription.trial_ending", stands | {"cancel_at_period_end": True}))
    assert "nothing is charged" in post_office()[-1].body and "USD" not in post_office()[-1].body


# Addresses that bounce


def bounce(customer, address="ada@example.com", type="Bounce", kind="Permanent"):
    tags = {"ses:configuration-set": ["mails"], "stripe_customer": [customer], "sequence": ["1"]}
    told = {"eventType": type, "mail": {"destination": [address], "tags": tags}}
    about = {"bounce": {"bounceType": kind}} if type == "Bounce" else {"complaint": {}}
    return {"source": "aws.ses", "detail": told | about}


@pytest.fixture
def noted(context, stripe):
    def note(customer=None, **said):
        note_bounce.handler(bounce(customer or customer_table.find("ada", 0).stripe_id, **said), context)

    return note


def events():
    return [item for item in dynamodb.query(outbox.TABLE, "customer#ada", "event#") if "bounced" in item["type"]]


@pytest.mark.parametrize("type, reason", [("Bounce", "bounce"), ("Complaint", "complaint")])
def test_an_address_that_bounces_is_not_written_to_again_but_another_is(
    owes, told, api, post, post_office, noted, caplog, type, reason
):
    noted(type=type)
    noted(type=type)  # SES tells at least once
    (event,) = events()
    assert event["data"] == {"reason": reason}
    post(owes)
    assert (post_office(), row(owes)["outcome"], waiting()) == ([], "bounced", [])
    assert "ada@example.com" not in repr(event) + caplog.text + repr([vars(each) for each in caplog.records])

    assert api("PUT", "/customer", {"email": "ada@example.org"}).status == 200
    post(told("usage.threshold_reached", USED))
    assert post_office()[-1].destinations["ToAddresses"] == ["ada@example.org"]


def test_a_full_mailbox_and_a_stranger_are_no_news(ada, noted):
    noted(kind="Transient")
    noted(customer="cus_of_another_stack")
    assert (events(), customer_table.find("ada", 0).bounced) == ([], None)


def test_a_bounce_noted_by_one_who_dies_is_noted_once(ada, noted, moments):
    for when, call in product(("before", "after"), ("GetItem", "TransactWriteItems")):
        moments.once(f"{when} {call}", _die)
        with pytest.raises(Death):
            noted()
    noted()
    assert len(events()) == 1 and customer_table.find("ada", 0).bounced == mails.named("ada@example.com")


def _die():
    raise Death
