"""
What a month costs at AWS, by service: the calls and units of docs/performance.md, as often as so many customers cause
them, at list prices of us-east-1. Without free tiers; docs/cost.md has what is assumed, and what is not in it.
"""

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from bench import calls, costs, report
from bench.calls import Calls, Taken
from bench.costs import GB, MILLION, Price
from local import tables
from local.ministack import ROOT

DAYS = 30
MINUTES = DAYS * 24 * 60
SECONDS = MINUTES * 60

# As of costs.PRICED_ON, beside those of costs.py. `at second hand`: no page of AWS's with the number could be read.
MORE_HTTP = Price(Fraction("0.90"), "million requests beyond 300 million", "from memory")
FIFO = Price(
    Fraction("0.50"), "million requests of a FIFO queue", "at second hand: cloudburn.io/blog/amazon-sqs-pricing"
)
EVENTS = Price(Fraction(1), "million custom events", "at second hand: cloudburn.io/blog/amazon-eventbridge-pricing")
SCHEDULED = Price(Fraction(1), "million invocations of Scheduler's", EVENTS.source)
SECRET = Price(Fraction("0.40"), "secret and month", "from memory")
SECRET_READ = Price(Fraction("0.05"), "10,000 calls of Secrets Manager", "from memory")
ALARM = Price(Fraction("0.10"), "alarm and month", "from memory")
METRIC = Price(Fraction("0.30"), "metric of one's own and month", "at second hand: signoz.io/guides/cloudwatch-pricing")
LOGGED = Price(Fraction("0.50"), "GB of logs taken in", "at second hand: factualminds.com/blog, CloudWatch pricing")
BACKUP = Price(Fraction("0.20"), "GB and month of a table, point-in-time recovery", "from memory")
PRICES = (costs.HTTP, MORE_HTTP, costs.CALLS, costs.COMPUTE, costs.WRITES, costs.READS, costs.STORAGE, BACKUP, FIFO)
PRICES += (EVENTS, SCHEDULED, SECRET, SECRET_READ, LOGGED, ALARM, METRIC)
FIRST_HTTP = 300 * MILLION  # requests

# Assumed. Milliseconds: CPU is what `make bench PARTS=usage` takes alone, on the 0.29 of a CPU that 512 MB have.
CPU, AWS_CALL, STRIPE_CALL, INIT = 8, 5, 300, 600
MEMORY = Fraction(1, 2)  # GB
COLD = Fraction(1, 100)  # of the calls find a Lambda that has just started
LOGS, ACCESS = 1200, 300  # bytes: of a call of a Lambda with Lambda's own lines, of a request
KEPT = 20_000  # bytes of a customer, with what is kept of its past
EVENT, RETENTION = 371, 400  # bytes of an event of usage (docs/scaling.md), and days that it is kept
POLLERS, POLL = 5, 20  # of a queue that Lambda waits for, and seconds of each of their calls
SWEEPS = 5  # that find an event in Stripe's list: it looks back an hour
PAGE = 100  # of Stripe's lists
RENEWAL = "process_webhook, a renewal: 5 events in 2 batches"
BATCHES = {RENEWAL: 2}  # calls of the Lambda that a row is of
MOST = 98  # events of a customer and metric that one transaction has
MONTHLY = {  # of a customer
    "receive_webhook": Fraction(7),  # the five of a renewal, and two others
    RENEWAL: Fraction(1),
    "process_webhook": Fraction(2),
    "publish_events": Fraction(3),
    "close_period": Fraction(1),
    "get_subscription": Fraction(10),
    "change_seats": Fraction(1, 10),
    "watch_usage, a limit reached": Fraction(1, 10),
}


class Load(NamedTuple):
    """Events of usage and checks of entitlements are those of a customer in a month; `batch` events come together."""

    customers: int
    events: int = 1000
    checks: int = 1000
    batch: int = 25


class Work(NamedTuple):
    """An action so often a month, and what it takes each time."""

    action: str
    times: Fraction
    taken: Taken
    batches: int = 1  # calls of the Lambda, each time

    @property
    def function(self) -> str:
        return self.action.partition(",")[0]

    @property
    def reads(self) -> Fraction:
        """As if none had met its customer before."""
        return self.times * (self.taken.reads + self.taken.cold.aws["GetItem"] - self.taken.warm.aws["GetItem"])

    @property
    def seconds(self) -> Fraction:
        """Each time, on the average."""
        asked = AWS_CALL * self.taken.warm.aws.total() + STRIPE_CALL * self.taken.warm.stripe.total()
        return (asked + self.batches * (CPU + COLD * INIT)) / 1000

    @property
    def secrets(self) -> Fraction:
        """A Lambda reads its secret again after a minute."""
        if not self.taken.cold.aws["GetSecretValue"]:
            return Fraction(0)
        return min(self.times, Fraction(MINUTES * max(1, ceil(self.times * self.seconds / SECONDS))))


class Stack(NamedTuple):
    """What the template has that is paid for, but for what it has only on a condition."""

    alarms: int
    polled: int  # queues
    routed: frozenset[str]  # functions that API Gateway calls
    runs: dict[str, Fraction]  # by function: times a month
    gauges: int  # metrics that every sweep tells
    metrics: int  # others

    @classmethod
    def deployed(cls) -> "Stack":
        found = [each for each in tables.template()["Resources"].values() if "Condition" not in each]
        functions = [each["Properties"] for each in found if each["Type"] == "AWS::Serverless::Function"]
        events = [
            (each["Handler"].removesuffix(".handler"), event)
            for each in functions
            for event in each.get("Events", {}).values()
        ]
        told = set().union(*(_metrics(folder) for folder in ("functions", "layers/core/billing")))
        gauges = _metrics("functions", "sweep.py")
        return cls(
            sum(each["Type"] == "AWS::CloudWatch::Alarm" for each in found),
            sum(event["Type"] == "SQS" for _, event in events),
            frozenset(name for name, event in events if event["Type"] == "HttpApi"),
            {name: _runs(event["Properties"]["Schedule"]) for name, event in events if event["Type"] == "Schedule"},
            len(gauges),
            len(told - gauges),
        )


def bill(load: Load, stack: Stack) -> dict[str, Fraction]:
    """Dollars a month, by service."""
    done = list(work(load, stack))
    customers, events = load.customers, load.customers * load.events
    times: defaultdict[str, Fraction] = defaultdict(Fraction)
    for each in done:
        times[each.function] += each.times * each.batches
    requests = sum((count for name, count in times.items() if name in stack.routed), Fraction(0))
    invoked = sum(times.values(), Fraction(0))
    webhooks = times["receive_webhook"]
    queued = 3 * webhooks + Fraction(stack.polled * POLLERS * SECONDS, POLL)  # sent, received, deleted
    writes = sum((each.times * each.taken.writes for each in done), Fraction(0))
    reads = sum((each.reads for each in done), Fraction(0)) + SWEEPS * webhooks
    kept = Fraction(events * RETENTION, DAYS)
    table = Fraction(customers * KEPT) + kept * (EVENT + costs.OVERHEAD)
    index = kept * (EVENT + costs.OVERHEAD)
    metrics = stack.gauges + (stack.metrics if customers else Fraction(1, 24))  # ReconcileRan, an hour a night
    logs = invoked * LOGS + requests * ACCESS
    secrets = SECRET.dollars + sum((each.secrets for each in done), Fraction(0)) / 10_000 * SECRET_READ.dollars
    return {
        "API Gateway": _per_million(min(requests, FIRST_HTTP), costs.HTTP)
        + _per_million(max(requests - FIRST_HTTP, 0), MORE_HTTP),
        "Lambda, calls": _per_million(invoked, costs.CALLS),
        "Lambda, time": sum((each.times * each.seconds for each in done), Fraction(0)) * MEMORY * costs.COMPUTE.dollars,
        "DynamoDB, writes": _per_million(writes, costs.WRITES),
        "DynamoDB, reads": _per_million(reads, costs.READS),
        "DynamoDB, storage": (table + index) / GB * costs.STORAGE.dollars,
        "DynamoDB, backups": table / GB * BACKUP.dollars,
        "SQS": _per_million(queued, FIFO),
        "EventBridge": _per_million(times["publish_events"], EVENTS),
        "Scheduler": _per_million(times["close_period"], SCHEDULED),
        "Secrets Manager": secrets,
        "CloudWatch, logs": logs / GB * LOGGED.dollars,
        "CloudWatch, alarms": stack.alarms * ALARM.dollars,
        "CloudWatch, metrics": metrics * METRIC.dollars,
    }


def work(load: Load, stack: Stack) -> Iterator[Work]:
    taken, customers = calls.table(), Fraction(load.customers)
    for name, runs in stack.runs.items():
        yield Work(name, runs, taken[name])
    page = _between(1, taken["reconcile"], 11, taken["reconcile, 11 customers"], PAGE)
    yield Work("reconcile", stack.runs["reconcile"] * customers / PAGE, page)
    for name, times in MONTHLY.items():
        yield Work(name, times * customers, taken[name], BATCHES.get(name, 1))
    requests = customers * load.events / load.batch
    together = _between(1, taken["record_usage"], 25, taken["record_usage, 25 events"], load.batch)
    yield Work("record_usage", requests, together)
    yield Work("watch_usage", requests, taken["watch_usage"])
    yield Work("check_entitlement", customers * load.checks, taken["check_entitlement"])


def rows(loads: Sequence[Load], stack: Stack) -> list[list[str]]:
    """Dollars of each service at each load, and all of them together."""
    bills = [bill(load, stack) for load in loads]
    found = [[service, *(_dollars(each[service]) for each in bills)] for service in bills[0]]
    return [*found, ["all", *(_dollars(sum(each.values(), Fraction(0))) for each in bills)]]


def quoted(price: Price) -> str:
    return f"{float(price.dollars):.10f}".rstrip("0").rstrip(".")


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.bill", description=__doc__)
    parser.add_argument("--customers", type=int, default=1000)
    for name, what in (("events", "of usage"), ("checks", "of entitlements")):
        default = Load._field_defaults[name]
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"{what}, of a customer in a month ({default})"
        )
    parser.add_argument("--batch", type=int, default=Load._field_defaults["batch"], help="events of a request, 1 to 98")
    load = Load(**vars(parser.parse_args()))
    if load.customers < 0 or load.events < 0 or load.checks < 0 or not 1 <= load.batch <= MOST:
        parser.error(f"none of them is negative, and a batch has 1 to {MOST} events")
    head = ["$ a month", "idle", f"{load.customers:,} customers"]
    print("\n".join(report.table(head, rows([Load(0), load], Stack.deployed()))))
    print(
        f"\nEach customer: {load.events:,} events of usage, {load.batch} a request, and {load.checks:,} checks a month."
    )
    print(f"List prices of {costs.PRICED_ON}, us-east-1, without free tiers; what is assumed: docs/cost.md.")


def _between(less: int, few: Taken, more: int, many: Taken, size: int) -> Taken:
    """What it takes of `size`, on the line through what it takes of few and of many."""

    def on(low: Fraction, high: Fraction) -> Fraction:
        return low + (high - low) * (size - less) / (more - less)

    def all_on(low: Counter[str], high: Counter[str]) -> Counter[str]:
        return Counter({name: ceil(on(Fraction(low[name]), Fraction(high[name]))) for name in low | high})

    cold, warm = (
        Calls(all_on(low.aws, high.aws), all_on(low.stripe, high.stripe))
        for low, high in ((few.cold, many.cold), (few.warm, many.warm))
    )
    return Taken(cold, warm, on(few.writes, many.writes), on(few.reads, many.reads))


def _metrics(folder: str, name: str = "*.py") -> set[str]:
    """Names that the code counts by."""
    texts = (path.read_text() for path in (ROOT / folder).glob(name))
    return {metric for text in texts for metric in re.findall(r'\bcounted\(\s*"(\w+)"', text)}


def _runs(schedule: str) -> Fraction:
    """Of a month."""
    if minutes := re.fullmatch(r"rate\((\d+) minutes\)", schedule):
        return Fraction(MINUTES, int(minutes[1]))
    if re.fullmatch(r"cron\(\d+ \d+ \* \* \? \*\)", schedule):
        return Fraction(DAYS)
    raise ValueError(f"nobody knows how often {schedule} is")


def _per_million(times: Fraction | int, price: Price) -> Fraction:
    return Fraction(times) / MILLION * price.dollars


def _dollars(amount: Fraction) -> str:
    return f"{float(amount):,.2f}" if amount < 100 else f"{float(amount):,.0f}"


if __name__ == "__main__":
    main()
