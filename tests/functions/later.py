"""Time that passes with all that happens in it: Stripe's own doings, its events, and our timers when they are due."""

import importlib

from billing import customer_table, dynamodb, outbox, timer_table

HOUR, DAY = 3600, 86_400
OWED = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
OWED |= {"grace_days": 7, "features": ["reports"]}
GRATIS = {"name": "Free", "billing_interval": "month", "currency": "usd", "base_price_cents": 0}
ACTIONS = {"dunning": "take_dunning_step", "trial": "remind", "card": "remind", "access": "remind"}


def fire(customer, timer, context):
    """As its schedule does."""
    about = {"customer": customer, "kind": timer.kind, "subject": timer.subject, "step": timer.step}
    importlib.import_module(ACTIONS[timer.kind]).handler(about, context)


def events(customer="ada"):
    """Domain events on record, in their order."""
    return dynamodb.query(outbox.TABLE, f"customer#{customer}", "event#")


def told(customer="ada", begins=""):
    return [each["type"] for each in events(customer) if each["type"].startswith(begins)]


def mails(customer="ada"):
    """The kinds of mails on record, in their order."""
    return [each["kind"] for each in dynamodb.query(outbox.TABLE, f"customer#{customer}", "mail#")]


class Later:
    """`fires`: how often each timer fires, and how many seconds late."""

    def __init__(self, api, stripe, clock, hear, context, fires=1, late=60):
        self.api, self.stripe, self.clock, self.hear, self.context = api, stripe, clock, hear, context
        self.fires, self.late = fires, late

    @property
    def now(self):
        return int(self.clock.now())

    def record(self, customer="ada"):
        return customer_table.find(customer, self.now)

    def hears(self, *types):
        assert not self.hear(*types), "news that fail"

    def passes(self, days=0, hours=0, step=6 * HOUR):
        """In steps: what is due in one of them happens at its end, timers after the news."""
        until = self.now + days * DAY + hours * HOUR
        while self.now < until:
            self.goes(min(step, until - self.now))
            self.due()

    def goes(self, seconds):
        """All at once, with all that Stripe does by itself meanwhile."""
        self.clock.pass_by(seconds=seconds)
        self.stripe.tick()
        self.hears()

    def due(self):
        """All timers that are due by now, the first first; what comes of them may be due as well."""
        while waiting := timer_table.waiting(self.now - self.late, None)[0]:
            for customer, timer in waiting:
                for _ in range(self.fires):
                    fire(customer, timer, self.context)
            self.hears()
            after = timer_table.waiting(self.now - self.late, None)[0]
            assert after != waiting, "timers that come to nothing"
