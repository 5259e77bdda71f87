"""What must be so on any machine: units, and ratios within one run."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

MOST_UNITS = {1: 5, 25: Fraction("3.2"), 99: Fraction("3.2")}  # to write an event, by the events of a request
CHEAPER = 5  # times less CPU for an event of a request of 25 than for one that comes alone; measured: 8 to 10
GROWS = 20  # times more that adding up on reading takes for the most events than for the fewest


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
