"""What must be so on any machine: units, and ratios within one run."""

from collections.abc import Container, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

MOST_UNITS = {1: 5, 25: Fraction("3.2"), 99: Fraction("3.2")}  # to write an event, by the events of a request
CHEAPER = 5  # times less CPU for an event of a request of 25 than for one that comes alone; measured: 8 to 10
GROWS = 20  # times more that adding up on reading takes for the most events than for the fewest
BATCH = 10  # events of one customer in a batch of the queue: as many as a batch of a FIFO queue has at most
LIGHTER = 2  # times less CPU for an event of such a batch than for one that the naive endpoint takes
SLOWER = 2  # times longer that a call may take with 100,000 customers and events than with 10
COLD = {"receive_webhook": 7, "check_entitlement": 7, "get_entitlements": 7, "record_usage": 9}  # times a bare handler
COLD_WITH_STRIPE = 10
WARM = ("record_usage", "receive_webhook")  # take at most 1/LIGHTER of their naive twins


class Counted(NamedTuple):
    """What an event took, of requests of one size."""

    writes: Fraction
    reads: Fraction
    cpu_us: float
    wall_us: float


def broken(ours: Mapping[int, Counted], our_reads: Sequence[Fraction], naive_reads: Sequence[Fraction]) -> list[str]:
    """
    What does not hold, told in a line each. Ours by the events of a request; the units that a total is read with, of
    ever more events.
    """
    return [*_writes(ours), *_work(ours), *_reads(our_reads, naive_reads)]


def _writes(ours: Mapping[int, Counted]) -> Iterator[str]:
    for events, most in MOST_UNITS.items():
        if (writes := ours[events].writes) > most:
            yield f"{events} a request: an event takes {float(writes):.2f} write units, more than {float(most):.2f}"


def _work(ours: Mapping[int, Counted]) -> Iterator[str]:
    alone, together = ours[1].cpu_us, ours[25].cpu_us
    if together * CHEAPER > alone:
        yield f"25 a request: an event takes {together:.0f} us of CPU, more than 1/{CHEAPER} of {alone:.0f} us alone"


def _reads(ours: Sequence[Fraction], naive: Sequence[Fraction]) -> Iterator[str]:
    if ours[-1] > ours[0]:
        yield f"our total is read with {float(ours[-1]):g} units at its largest, {float(ours[0]):g} at its smallest"
    if naive[-1] < naive[0] * GROWS:
        yield f"adding up is read with {float(naive[-1]):g} units, less than {GROWS} times {float(naive[0]):g}"


class Handled(NamedTuple):
    """What an event of Stripe's took."""

    transactions: Fraction
    fetches: Fraction  # calls of Stripe
    writes: Fraction
    cpu_us: float
    spread_us: list[float]  # quartiles
    wall_us: float


def slow_pipeline(alone: Handled, together: Handled, naive: Handled) -> list[str]:
    """What does not hold of the webhook pipeline, told in a line each; `together` are as many as a batch has."""
    wrong = []
    for name, handled, most in (("alone", alone, Fraction(1)), ("together", together, Fraction(1, BATCH))):
        if (handled.transactions, handled.fetches) != (most, most):
            told = f"{float(handled.transactions):g} transactions and {float(handled.fetches):g} fetches"
            wrong.append(f"{name}: an event takes {told}, not {float(most):g} of each")
    if together.cpu_us * LIGHTER > naive.cpu_us:
        wrong.append(
            f"together: {together.cpu_us:.0f} us of CPU, more than 1/{LIGHTER} of {naive.cpu_us:.0f} us naively"
        )
    return wrong


class Grown(NamedTuple):
    """What a call takes in a world of one size."""

    writes: Fraction
    reads: Fraction
    calls: int
    ms: float


def growing(grown: Mapping[str, Mapping[int, Grown]]) -> list[str]:
    """What takes more where there is more, told in a line each. By the name of the call, and the size of the world."""
    return [line for name, by_size in grown.items() for line in _more(name, by_size)]


def _more(name: str, by_size: Mapping[int, Grown]) -> Iterator[str]:
    fewest, many = min(by_size), max(by_size)
    least, most = by_size[fewest], by_size[many]
    for size, each in by_size.items():
        if each[:3] != least[:3]:
            yield f"{name}: writes, reads, calls are {_told(each)} of {size:,}, {_told(least)} of {fewest:,}"
    if most.ms > least.ms * SLOWER:
        yield f"{name}: {most.ms:.1f} ms of {many:,}, more than {SLOWER} times {least.ms:.1f} of {fewest:,}"


def _told(grown: Grown) -> str:
    return ", ".join(f"{float(each):g}" for each in grown[:3])


class Started(NamedTuple):
    """A function's first response."""

    ms: float
    ratio: float  # to a bare handler's in the same round
    spread: list[float]  # quartiles of that


def cold(found: Mapping[str, Started], stripes: Container[str]) -> list[str]:
    """What starts more slowly than it may, told in a line each; `stripes` call Stripe."""
    wrong = []
    for name, started in found.items():
        most = COLD.get(name, COLD_WITH_STRIPE if name in stripes else None)
        if most and started.ratio > most:
            wrong.append(f"{name}: its first response takes {started.ratio:.2f} times a bare one, more than {most}")
    return wrong


class Warm(NamedTuple):
    """What a request takes of a function that has had some."""

    cpu_us: float  # without the runtime's
    spread_us: list[float]  # quartiles
    whole_us: float


def warm(pairs: Mapping[str, tuple[Warm, Warm]]) -> list[str]:
    """What is not lighter than its naive twin, as far as it has to be; ours first."""
    return [
        f"{name}: {ours.cpu_us:.0f} us of CPU, more than 1/{LIGHTER} of {naive.cpu_us:.0f} us naively"
        for name, (ours, naive) in pairs.items()
        if name in WARM and ours.cpu_us * LIGHTER > naive.cpu_us
    ]
