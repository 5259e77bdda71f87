"""bench/chart.svg: what the README shows of results.json, of as much as is there; legible on light and on dark."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

COLD = (
    "receive_webhook",
    "check_entitlement",
    "record_usage",
    "change_seats",
    "naive webhook",
    "naive check",
    "naive usage",
)
CHART = Path(__file__).with_name("chart.svg")
WIDTH, LABEL, BAR, ROW, GAP = 760, 250, 400, 24, 34  # pixels
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 }
  .ours { fill: #2f81f7 } .other { fill: #8c959f }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .other { fill: #6e7681 } }
"""


class Bar(NamedTuple):
    label: str
    value: float
    ours: bool = True


class Panel(NamedTuple):
    title: str
    unit: str
    bars: list[Bar]


def drawn(results: Mapping[str, Any]) -> str:
    panels = [PANELS[name](results[name]["numbers"]) for name in PANELS if name in results]
    lines, top = [], 6
    for panel in panels:
        lines += _lines(panel, top)
        top += GAP + ROW * len(panel.bars)
    size = f'viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, f"<title>Tollgate: make bench</title><style>{STYLE}</style>", *lines, "</svg>", ""])


def _lines(panel: Panel, top: int) -> Iterator[str]:
    most = max(bar.value for bar in panel.bars)
    yield f'<text class="title" x="0" y="{top + 16}">{escape(panel.title)}</text>'
    for place, bar in enumerate(panel.bars):
        y, long = top + 26 + place * ROW, BAR * bar.value / most
        kind = "ours" if bar.ours else "other"
        yield f'<text x="{LABEL - 10}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>'
        yield f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{long:.1f}" height="{ROW - 6}" rx="2"/>'
        yield f'<text x="{LABEL + long + 6:.1f}" y="{y + 13}">{bar.value:g} {escape(panel.unit)}</text>'


def _usage(numbers: Mapping[str, Any]) -> Panel:
    bars = [
        Bar(f"{name}, {events} a request", each["cpu_us"], name == "ours")
        for name, by_size in numbers["an event counted"].items()
        for events, each in _by_size(by_size)
    ]
    return Panel("CPU of ours to count an event of usage", "us", bars)


def _pipeline(numbers: Mapping[str, Any]) -> Panel:
    bars = [Bar(name, each["cpu_us"], not name.startswith("naive")) for name, each in numbers["an event"].items()]
    return Panel("CPU of a webhook event: received, fetched, recorded", "us", bars)


def _cold(numbers: Mapping[str, Any]) -> Panel:
    found = numbers["first response"]
    bars = [Bar(name, found[name]["ratio"], not name.startswith("naive")) for name in COLD if name in found]
    return Panel("First response of a cold function, as a bare one takes", "times", bars)


def _warm(numbers: Mapping[str, Any]) -> Panel:
    found = numbers["a request"]
    bars = [Bar(name, each["cpu_us"], not name.startswith("naive")) for name, each in found.items() if name != "bare"]
    return Panel("CPU of a request, warm", "us", bars)


def _growth(numbers: Mapping[str, Any]) -> Panel:
    bars = [
        Bar(f"{name}: {int(size):,}", each["ms"])
        for name, by_size in numbers.items()
        if name in ("POST /usage, 25 events", "GET /entitlements/{feature}")
        for size, each in _by_size(by_size)
    ]
    return Panel("Time of a call, by how many customers and events there are", "ms", bars)


def _by_size(found: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    return sorted(found.items(), key=lambda each: int(each[0]))


PANELS = {"cold": _cold, "warm": _warm, "usage": _usage, "pipeline": _pipeline, "growth": _growth}
