"""The parts of the bench: what each tells, and what is kept of it in results.json."""

import importlib
import json
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).with_name("results.json")
VERSIONS = ("botocore", "pydantic", "aws-lambda-powertools", "stripe")
DIGITS = 3  # that a machine's measurement means anything by


class Part(NamedTuple):
    """What a part of the bench has found."""

    name: str
    lines: list[str]  # the table it prints
    numbers: dict[str, Any]  # for results.json
    broken: list[str]  # bounds that do not hold, a line each


def measured(name: str, seed: int) -> Part:
    """A part, in a process of its own: nothing that another has loaded or remembers is in it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_run, name, seed).result()


def _run(name: str, seed: int) -> Part:
    return importlib.import_module(f"bench.{name}").run(seed)


def entry(part: Part, seed: int, seconds: float) -> dict[str, Any]:
    """What is kept of a part: what it found, when and where."""
    return {
        "on": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in VERSIONS if _installed(name)},
        "seed": seed,
        "seconds": round(seconds),
        "numbers": _rounded(part.numbers),
        "broken": part.broken,
    }


def kept(path: Path = RESULTS) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def keep(results: dict[str, Any], path: Path = RESULTS) -> None:
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def machine() -> str:
    return f"{os.process_cpu_count()} cores ({platform.machine()})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of columns, of which the first `left` begin where the others end."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells)

    return [line(head), *map(line, rows)]


def _rounded(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case Fraction() if value.denominator == 1:
            return int(value)
        case Fraction() | float():
            return float(f"{float(value):.{DIGITS}g}")
    return value


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
