"""The door to Jinja2: a mail is written in the recipient's language, as text and as HTML (layers/core/letters)."""

import os
import re
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from billing import wording

FOLDER = Path(__file__).parent.parent / "letters"
WIDTH = 72
PARAGRAPH = '<p style="margin:0 0 16px">{}</p>'
TABLE = '<table role="presentation" cellpadding="0" cellspacing="0" style="margin:0 0 16px">{}</table>'
ROW = '<tr><td style="padding:2px 16px 2px 0;color:#4b5563">{}</td><td style="padding:2px 0">{}</td></tr>'


class Letter(NamedTuple):
    subject: str
    text: str
    html: str


def write(kind: str, locale: str, about: dict) -> Letter:
    """
    One file for each kind and language says what a mail says, once: layouts make a subject, a text and HTML of it.
    Nothing of `about` can be markup in it.
    """
    name = os.environ["MAIL_NAME"] or os.environ["MAIL_FROM"].partition("@")[2]
    ours = {"product": name, "colour": os.environ["MAIL_COLOUR"], "footer": os.environ["MAIL_FOOTER"]}
    ours |= {"answered": bool(os.environ["MAIL_REPLY_TO"]), "locale": locale}

    def rendered(layout: str) -> str:
        made = _environment(layout == "html").get_template(f"{locale}/{kind}.j2")
        return made.render(_plain(about | ours), layout=f"layout.{layout}").strip()

    text = re.sub(r"\n{3,}", "\n\n", rendered("txt")) + "\n"
    return Letter(" ".join(rendered("subject").split()), text, rendered("html") + "\n")


def _plain(value):
    """Values are of one line: else they could begin a paragraph, or a line of a table."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return " ".join(value.split()) if isinstance(value, str) else value


@cache
def _environment(html: bool) -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=html, undefined=StrictUndefined, trim_blocks=True, auto_reload=False
    )
    made.filters |= {"money": _money, "number": _number, "day": _day, "month": wording.month, "words": _words}
    made.filters |= {"paragraphs": _html_paragraphs, "facts": _html_facts} if html else {}
    made.filters |= {} if html else {"paragraphs": _text_paragraphs, "facts": _text_facts}
    return made


@pass_context
def _money(context: Context, cents: int, currency: str) -> str:
    return wording.money(cents, currency, context["locale"])


@pass_context
def _number(context: Context, count: int) -> str:
    return wording.number(count, context["locale"])


@pass_context
def _day(context: Context, moment: str) -> str:
    return wording.day(moment, context["locale"])


def _words(name: str) -> str:
    """Of the name of a metric."""
    return name.replace("_", " ").replace("-", " ")


def _split(said: str) -> list[str]:
    """Paragraphs, between which there are empty lines."""
    return [" ".join(each.split()) for each in re.split(r"\n\s*\n", said) if each.strip()]


def _lines(said: str) -> list[tuple[str, str]]:
    """`What: how much`."""
    pairs = [line.partition(": ") for line in said.splitlines() if line.strip()]
    return [(what.strip(), how_much.strip()) for what, _, how_much in pairs]


def _text_paragraphs(said: str) -> str:
    return "\n\n".join(fill(each, WIDTH, break_long_words=False, break_on_hyphens=False) for each in _split(said))


def _text_facts(said: str) -> str:
    return "\n".join(f"  {what}: {how_much}" for what, how_much in _lines(said))


# What comes to these is escaped already: splitting and joining it makes no markup of it.


def _html_paragraphs(said: str) -> Markup:
    return Markup("\n".join(PARAGRAPH.format(each) for each in _split(str(said))))


def _html_facts(said: str) -> Markup:
    rows = "".join(ROW.format(*pair) for pair in _lines(str(said)))
    return Markup(TABLE.format(rows)) if rows else Markup("")
