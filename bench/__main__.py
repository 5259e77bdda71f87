"""
What it takes: every part of the bench, or those that are named, each beside the naive way. Tells a table of each, keeps
the numbers in bench/results.json (those of a part that was not run stay), and draws bench/chart.svg of them.

Exits with 1, and says so, if one of bench.bounds does not hold.
"""

import argparse
import sys
import time

from bench import chart, report

PARTS = ("cold", "warm", "usage", "pipeline", "growth")


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them, if none is named"
    )
    parser.add_argument("--seed", type=int, default=1, help="of quantities, keys and times")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"there is no part {min(unknown)}: {', '.join(PARTS)}")
    wrong: list[str] = []
    for name in chosen.parts or PARTS:
        began = time.monotonic()
        part = report.measured(name, chosen.seed)
        seconds = time.monotonic() - began
        print(f"== {name}: {report.machine()}; seed {chosen.seed}; {seconds:.0f} s\n")
        print("\n".join(part.lines), flush=True)
        print()
        wrong += [f"{name}: {line}" for line in part.broken]
        report.keep(report.kept() | {name: report.entry(part, chosen.seed, seconds)})
        chart.CHART.write_text(chart.drawn(report.kept()))
    for line in wrong:
        print(f"NOT SO: {line}")
    if not wrong:
        print("All bounds hold (bench/bounds.py).")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
