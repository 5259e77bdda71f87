"""A year of two hundred customers, with all that goes wrong in one: it ends with nothing lost and nothing doubled."""

import heapq
import json
import logging
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import batched, count
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse

import process_webhook
import publish_events
import send_mail
from billing import (
    bus,
    customer_table,
    gateway,
    mail_table,
    mails,
    outbox,
    plan_table,
    run_table,
    ses,
    standing,
    timer_table,
)
from billing.dunning import DENYING, PERIODIC
from billing.errors import Unavailable
from billing.webhooks import envelope
from local.stripe_simulator import Simulator
from local.stripe_simulator.forms import decode
from tests.functions.at_stripe import ask
from tests.functions.later import DAY, HOUR, fire
from tests.slow.test_day_of_silence import brief, differences, everything

SEED, CUSTOMERS, YEAR = 20261123, 200, 365 * DAY
AFTER = 40 * DAY  # in which nobody does anything: longer than a case
STRIDE = 48 * HOUR, 84 * HOUR
SWEEPS = 24 * DAY  # between two
BATCH = 10  # messages
LOST, LATE, TWICE, REFUSED = 0.01, 0.1, 0.05, 0.03
MONTHLY = 20  # one in so many: they take most of the time

FREE = {"name": "Free", "billing_interval": "month", "currency": "usd", "base_price_cents": 0}
PAID = {"name": "Paid", "currency": "usd", "base_price_cents": 2000, "features": ["reports"]}
ENDS = {
    "access": {"dunning_ends": "end_access", "grace_days": 7},
    "cancel": {"dunning_ends": "cancel", "grace_days": 3, "dunning_days": [0, 4, 10]},
    "free": {"dunning_ends": "free_plan", "dunning_plan": "free", "grace_days": 30, "dunning_days": [1, 8]},
}
PLANS = {
    f"{interval}-{name}-{trial}": PAID | ends | {"billing_interval": interval, "trial_days": trial}
    for interval in ("month", "year")
    for name, ends in ENDS.items()
    for trial in (0, 14)
}
WHY = ["generic_decline"] * 3 + ["lost_card", "3ds"]
OUTCOMES = {"paid", "voided", "uncollectible", "access_ended", "canceled", "free_plan", "subscription_ended"}


@pytest.fixture
def aws(apart):
    with apart("ministack"):  # the quickest where so much is on record
        yield


@pytest.fixture
def stripe(aws, clock, monkeypatch):
    """In the same process, without a wire."""
    simulator = Simulator(now=clock.now)

    class Near(gateway.Wire):
        def request(self, method, url, headers, post_data=None):
            asked = urlsplit(url)
            params = decode("&".join(part for part in (asked.query, post_data) if part))
            answer = simulator.answer(method.upper(), asked.path, params, headers.get("Idempotency-Key"))
            return json.dumps(answer.body), answer.status, answer.headers

    monkeypatch.setattr(gateway, "Wire", Near)
    gateway.connect.cache_clear()
    yield simulator
    simulator.close()


class Life:
    """A customer, to whom things happen by a chance of their own, whatever happens to the others."""

    def __init__(self, year, number):
        self.year, self.random, self.name = year, Random(f"{SEED}-{number}"), f"customer-{number}"
        interval = "year" if number % MONTHLY else "month"
        self.plan = self.random.choice([slug for slug in PLANS if slug.startswith(interval)])
        self.begins = self.random.randrange(YEAR // 6)
        self.cannot_pay = False

    def goes_on(self, day):
        chance, bought = self.random.random(), self.bought()
        if day < self.begins:
            return
        if not bought or bought["status"] in ("canceled", "incomplete_expired"):
            if not bought or chance < 0.05:
                self.cannot_pay = False
                self.wishes("POST", "/subscription", self.order())
        elif not self.cannot_pay and self.renews(bought) and chance < 0.4:
            self.breaks()
        elif self.cannot_pay and chance < 0.25:
            self.mends(bought)
        elif chance > 0.9993:
            self.wishes("POST", "/subscription/cancel", {"immediately": True})
        elif chance > 0.998 and not bought["cancel_at_period_end"]:
            self.wishes("POST", "/subscription/cancel", {})

    def order(self):
        """With a card of its own: each has one trial."""
        tables = self.year.stripe._account.tables
        card = tables["payment_method"][ask(self.year.stripe, "GET", "/v1/payment_methods/pm_card_visa")["id"]]
        card["card"]["fingerprint"] = f"{self.name}-{len(tables['payment_method'])}"
        return {"plan_slug": self.plan, "quantity": 1, "payment_method": card["id"]}

    def wishes(self, method, path, body):
        answer = self.year.api(method, path, body, customer=self.name)
        assert answer.status == 200, answer.json
        self.year.did[path] += 1

    def has(self, kind):
        """At Stripe, the first first."""
        return self.year.stripe._account.of(kind, self.stripe_id) if self.stripe_id else []

    @property
    def stripe_id(self):
        return self.year.named.get(self.name)

    def bought(self):
        return next(reversed(self.has("subscription")), None)

    def renews(self, bought):
        end = bought["items"]["data"][0]["current_period_end"]
        return end - self.year.now < max(STRIDE)

    def breaks(self):
        why = self.random.choice(WHY)
        self.cannot_pay = True
        self.year.did[why] += 1
        for method in self.has("payment_method"):
            asks = why == "3ds"
            self.year.stripe.card_behaves(method["id"], None if asks else why, needs_authentication=asks)

    def mends(self, bought):
        """Or an operator does."""
        unpaid = [each["id"] for each in self.has("invoice") if each["status"] == "open"]
        ways = ["mended", "new", "page", "leaves", "void", "mark_uncollectible"]
        how = self.random.choice(ways if unpaid and not bought["cancel_at_period_end"] else ["mended"])
        self.year.did[how] += 1
        if how in ("void", "mark_uncollectible"):
            for invoice in unpaid:
                ask(self.year.stripe, "POST", f"/v1/invoices/{invoice}/{how}")
            return
        if how == "leaves":
            self.wishes("POST", "/subscription/cancel", {"immediately": True})
            return
        self.cannot_pay = False
        if how == "mended":
            for method in self.has("payment_method"):
                self.year.stripe.card_behaves(method["id"])
            return
        path = "/v1/payment_methods/pm_card_mastercard/attach"
        card = ask(self.year.stripe, "POST", path, customer=self.stripe_id)["id"]
        if how == "page":
            for invoice in unpaid:
                self.year.stripe.pay_on_page(invoice, card)


class Year:
    def __init__(self, api, stripe, clock, context, swept):
        self.api, self.stripe, self.clock, self.context, self.swept = api, stripe, clock, context, swept
        self.random, self.did = Random(SEED), Counter()
        self.spent: dict[str, float] = defaultdict(float)
        self.lives = [Life(self, number) for number in range(CUSTOMERS)]
        self.named = {}  # our customers: Stripe's
        self.calm = False  # all comes at once, once
        self.heard = 0  # of Stripe's events
        self.order = count()
        self.way = []  # messages, by when they arrive
        self.letters = []  # events of the bus that a mail is sent of, by when they arrive
        self.sent = Counter()
        self.firing = {}  # timers: when their schedules do
        self.published = defaultdict(list)
        (self.message,) = json.loads(Path("events/sqs.json").read_text())["Records"]
        self.begun, self.sweeps_at = self.now, self.now + SWEEPS
        self.doings = (self.tells, self.delivers, self.fires, self.publishes, self.mails, self.sweeps)

    @property
    def now(self):
        return int(self.clock.now())

    def passes(self, seconds, quiet=False):
        until = self.now + seconds
        while self.now < until:
            self.clock.pass_by(seconds=self.random.randint(*STRIDE))
            self.stripe.tick()
            for life in [] if quiet else self.lives:
                life.goes_on(self.now - self.begun)
            for happens in self.doings:
                begun = time.perf_counter()
                happens()
                self.spent[happens.__name__] += time.perf_counter() - begun

    def ends(self):
        """All is heard of, and nothing is under way any more."""
        self.calm, self.sweeps_at = True, 0
        while self.sweeps_at <= self.now or self.under_way():
            for happens in self.doings:
                happens()
            self.clock.pass_by(seconds=HOUR)

    def under_way(self):
        if (
            self.way
            or self.firing
            or self.letters
            or self.heard < len(self.stripe.events)
            or run_table.swept().get("after")
        ):
            return True
        return any(table.waiting(self.now, None)[0] for table in (outbox, timer_table, mail_table))

    def tells(self):
        """Stripe's news go on their way: some are late, or come twice, or never."""
        made = self.stripe._account.tables["event"]
        news = defaultdict(list)
        for event in [made[id] for id in list(made)[self.heard :]]:
            about = event["data"]["object"]
            if event["type"] == "customer.created":
                name = about["metadata"]["customer"]
                self.named[name] = about["id"]
                self.stripe._account.tables["customer"][about["id"]]["email"] = f"{name}@example.com"
            if event["type"] in process_webhook.HANDLED:
                message = envelope(event)
                news[message.customer].append(message)
            else:  # nobody listens to it, and a sweep would only make a note of each
                self.stripe._account.remove(event)
        self.heard = len(made)
        for messages in news.values():
            late = self.random.random() < LATE and not self.calm
            for message in messages:
                if self.random.random() < LOST and not self.calm:
                    self.did["lost"] += 1
                    continue
                self.sends(message, self.random.choice([0, 4 * DAY]) if late else 0)
                if self.random.random() < TWICE:
                    self.did["doubled"] += 1
                    self.sends(message, self.random.choice([0, 0, 0, 5 * DAY]))

    def sends(self, message, late):
        heapq.heappush(self.way, (self.now + late, next(self.order), message))

    def delivers(self):
        arrived = defaultdict(list)
        while self.way and self.way[0][0] <= self.now:
            message = heapq.heappop(self.way)[2]
            arrived[message.customer].append(message)
        for messages in arrived.values():
            self.random.shuffle(messages)
        for batch in batched([each for messages in arrived.values() for each in messages], BATCH, strict=False):
            bodies = [{"messageId": str(n), "body": json.dumps(asdict(each))} for n, each in enumerate(batch)]
            answer = process_webhook.handler({"Records": [self.message | each for each in bodies]}, self.context)
            self.did["messages"] += len(batch)
            for failed in answer["batchItemFailures"]:
                self.did["again"] += 1
                self.sends(batch[int(failed["itemIdentifier"])], HOUR)

    def fires(self):
        """Schedules: a share of them late, a share twice."""
        for each in sorted(timer_table.waiting(self.now, None, 1000)[0], key=lambda each: (each[1].due, each[0])):
            late = self.random.random() < LATE and not self.calm
            self.firing.setdefault(each, self.now + (self.random.randrange(4 * DAY) if late else 0))
        for (customer, timer), at in list(self.firing.items()):
            if at <= self.now:
                times = 1 + (self.random.random() < TWICE)
                self.did[timer.kind] += times
                for _ in range(times):
                    fire(customer, timer, self.context)
                del self.firing[customer, timer]

    def publishes(self):
        told, after = outbox.waiting(self.now, None, 1000)
        while after:
            more, after = outbox.waiting(self.now, after, 1000)
            told += more
        for customer in sorted({customer for customer, _ in told}):
            with suppress(Unavailable):  # the next time
                publish_events.handler({"customer": customer}, self.context)

    def takes(self, model, params, **_):
        """The bus, which is busy at times, in the middle of a call as well."""
        if model.name != "PutEvents":
            return None
        answers, busy = [], False
        for entry in json.loads(params["body"])["Entries"]:
            busy, detail = busy or self.random.random() < REFUSED, json.loads(entry["Detail"])
            answers.append({"ErrorCode": "ThrottlingException"} if busy else {"EventId": "e"})
            self.did["refused"] += busy
            if not busy:
                self.published[detail["customer"]].append((detail["sequence"], detail["type"]))
            if not busy and "mail" in detail and self.random.random() >= LOST:
                late = self.random.random() < LATE
                for _ in range(1 + (self.random.random() < TWICE)):
                    heapq.heappush(self.letters, (self.now + late * 4 * DAY, next(self.order), {"detail": detail}))
        content = {"FailedEntryCount": sum("ErrorCode" in each for each in answers), "Entries": answers}
        return AWSResponse("", 200, {}, None), content

    def mails(self):
        """Those that the bus has told of; and the sweep of those that it has lost."""
        events = []
        while self.letters and self.letters[0][0] <= self.now:
            events.append(heapq.heappop(self.letters)[2])
        for customer, sequence in mail_table.waiting(self.now - DAY, None)[0]:
            events.append({"customer": customer, "sequence": sequence})
            self.did["mails lost"] += 1
        for event in events:
            try:
                send_mail.handler(event, self.context)
            except Unavailable:
                heapq.heappush(self.letters, (self.now + HOUR, next(self.order), event))

    def posts(self, model, params, **_):
        """SES, which is busy at times."""
        if self.random.random() < REFUSED:
            self.did["not posted"] += 1
            said = {"Error": {"Code": "TooManyRequestsException"}, "ResponseMetadata": {"HTTPStatusCode": 429}}
            return AWSResponse("", 429, {}, None), said
        tags = {each["Name"]: each["Value"] for each in json.loads(params["body"])["EmailTags"]}
        self.sent[tags["stripe_customer"], int(tags["sequence"])] += 1
        return AWSResponse("", 200, {}, None), {"MessageId": "m"}

    def sweeps(self):
        if self.now >= self.sweeps_at or run_table.swept().get("after"):
            self.sweeps_at = self.now + SWEEPS
            self.did["swept"] += 1
            assert self.swept() == []


@pytest.fixture
def year(api, stripe, clock, context, swept, monkeypatch):
    monkeypatch.setenv("MAILS", ",".join(sorted(mails.KINDS)))
    monkeypatch.setenv("MAIL_FROM", "billing@example.com")
    clock.stopped = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC).timestamp()
    for slug, plan in {"free": FREE, **PLANS}.items():
        assert api("PUT", f"/plans/{slug}", plan).status == 200
    year = Year(api, stripe, clock, context, swept)
    bus.events().meta.events.register_last("before-call", year.takes)
    ses.ses.cache_clear()
    ses.ses().meta.events.register_last("before-call", year.posts)
    begun = time.perf_counter()
    logging.disable(logging.CRITICAL)
    try:
        year.passes(YEAR)
        year.passes(AFTER, quiet=True)
        year.ends()
    finally:
        logging.disable(logging.NOTSET)
        print("seed", SEED, year.did, {n: round(s, 1) for n, s in year.spent.items()}, time.perf_counter() - begun)
    yield year
    ses.ses.cache_clear()


@pytest.mark.timeout(600)
def test_at_the_end_of_a_year_everything_agrees_and_nothing_is_left(year, stripe):
    kept = list(everything("Subscriptions"))
    of_customers, due = defaultdict(dict), set()
    for item in kept:
        if item["pk"].startswith("customer#"):
            of_customers[item["pk"].removeprefix("customer#")][item["sk"]] = item
        if item["sk"].startswith("timer#") and item.get("waits"):
            due.add((item["customer"], item["subject"], item["step"], item["due"]))

    assert brief(differences(stripe)) == {}
    assert min(when for *_, when in due) > year.now
    outcomes = Counter()
    for life in year.lives:
        ours, items = customer_table.find(life.name, year.now), of_customers[life.name]
        events = [items[sk] for sk in sorted(items) if sk.startswith("event#")]
        assert [each["sequence"] for each in events] == list(range(1, ours.told + 1))
        assert_told(year, life.name, events, items)
        outcomes += assert_collected(life, ours, events, due)
        assert_access(year, life, ours, events)
    assert outcomes.keys() == OUTCOMES, "not all that may happen has happened"
    tried = Counter(
        (each.path, each.params.get("payment_method")) for each in stripe.calls if each.path.endswith("/pay")
    )
    assert tried and set(tried.values()) == {1}


def assert_told(year, customer, events, items):
    """Each once to the bus, in sequence, and each of which a mail is sent has its mail; nothing else has."""
    assert year.published[customer] == [(each["sequence"], each["type"]) for each in events]
    wanted = {each["sequence"]: kind for each in events if (kind := mails.kind_of(each["type"], each["data"]))}
    wanted = {sequence: kind for sequence, kind in wanted.items() if not silent(events[sequence - 1], events)}
    rows = [item for sk, item in items.items() if sk.startswith("mail#")]
    assert {each["sequence"]: each["kind"] for each in rows} == wanted
    assert {each["outcome"] for each in rows} <= {"sent", "obsolete", "late"}
    posted = {sequence: times for (theirs, sequence), times in year.sent.items() if theirs == year.named[customer]}
    assert posted == {each["sequence"]: 1 for each in rows if each["outcome"] == "sent"}
    year.did.update(each["outcome"] for each in rows)


def silent(event, events):
    """An invoice that is met after days is no news; and that a subscription ends, its last dunning mail has said."""
    if event["type"].startswith("invoice."):
        return datetime.fromisoformat(event["data"]["created_at"]).timestamp() <= event["at"] - 3 * DAY
    if event["type"] != "subscription.ended":
        return False
    over = {each["at"]: each["data"] for each in events if each["type"] == "dunning.ended"}
    dunned = over.get(event["at"], {})
    return dunned.get("outcome") in ("canceled", "free_plan") and dunned["subscription"] == event["data"]["id"]


def assert_collected(life, ours, events, due):
    """Each case began once, took its steps one after the other, and ended once or waits for a timer that is there."""
    told = defaultdict(list)
    for each in events:
        if each["type"].startswith("dunning."):
            told[each["data"]["invoice"]].append((each["type"].removeprefix("dunning."), each["data"]))
    open_cases = {case.invoice: case for case in ours.cases if case.outcome is None}
    failed = {each["id"]: each for each in life.has("invoice") if each["billing_reason"] == "subscription_cycle"}
    outcomes = Counter()
    for invoice, said in told.items():
        names, steps = [name for name, _ in said], [data["step"] for name, data in said if name == "step_taken"]
        assert (names[0], names.count("started")) == ("started", 1) and steps == list(range(len(steps))), names
        if invoice in open_cases:
            case = open_cases[invoice]
            assert (life.name, invoice, str(case.taken), case.due) in due
            assert failed[invoice]["status"] == "open" and "ended" not in names
        else:
            ended = [data["outcome"] for name, data in said if name == "ended"]
            assert names[-len(ended) :] == ["ended"] * len(ended) and len(set(ended)) == len(ended) > 0
            assert set(ended[:-1]) <= DENYING, "what stands may still be paid, and nothing else goes on"
            outcomes[said[-1][1]["outcome"]] += 1
            if said[-1][1]["outcome"] in ("voided", "free_plan"):
                assert failed[invoice]["status"] == "void"
    return outcomes


def assert_access(year, life, ours, events):
    """As told last, as on record, and as the plan has it of what is at Stripe."""
    changes = [each["data"] for each in events if each["type"] == "access.changed"]
    last = [changes[-1]["access"], changes[-1]["reason"]]
    assert last == ours.access == list(ours.subscription.access(standing.bought(ours), year.now)), life.name
    theirs = next(each for each in life.has("subscription") if each["id"] == ours.subscription.theirs.id)
    invoices = [
        each for each in life.has("invoice") if each["parent"]["subscription_details"]["subscription"] == theirs["id"]
    ]
    cases = {each.invoice: each for each in ours.cases}
    stands = {each.invoice for each in ours.cases if each.outcome in DENYING and each.subscription == theirs["id"]}
    paid = [each["created"] for each in invoices if each["amount_paid"] and each["billing_reason"] in PERIODIC]
    gave_up = [
        each for each in invoices if each["status"] == "uncollectible" and each["created"] > max(paid, default=0)
    ]
    assert {each["id"] for each in gave_up} <= stands
    allowed = theirs["status"] in ("active", "trialing", "past_due") and not stands
    unpaid = {each["id"]: each["status_transitions"]["finalized_at"] for each in invoices if each["status"] == "open"}
    if allowed and theirs["status"] == "past_due" and unpaid:
        begun = [cases[invoice].begun for invoice in unpaid]
        for heard, failed in zip(begun, unpaid.values(), strict=True):
            assert heard == failed or heard >= failed + DAY, life.name
        allowed = year.now < min(begun) + plan_table.current(ours.subscription.plan).grace_days * DAY
    about = life.name, last, theirs["status"], allowed, stands, unpaid, year.now, asdict(ours.subscription)
    assert last[0] == allowed, about
