"""Amounts, numbers and days, as they are written in the languages that mails are sent in. Days are UTC."""

from datetime import datetime

from billing.currencies import chargeable, decimals

LOCALES = {"en", "de"}
MONTHS = {
    "en": "January February March April May June July August September October November December".split(),
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
}
SIGNS = {"en": ",.", "de": ".,"}  # of thousands and of decimals


def money(cents: int, currency: str, locale: str) -> str:
    """With the currency's code: EUR 1,234.50, 1.234,50 EUR. Of what is charged in whole alone, no decimals."""
    digits, unit = decimals(currency), 10 ** decimals(currency)
    whole, rest = divmod(abs(cents), unit)
    said = number(whole, locale)
    if unit > 1 and chargeable(currency) != unit:
        said += f"{SIGNS[locale][1]}{rest:0{digits}}"
    said, code = f"{'-' if cents < 0 else ''}{said}", currency.upper()
    return f"{said} {code}" if locale == "de" else f"{code} {said}"


def number(count: int, locale: str) -> str:
    return f"{count:,}".replace(",", SIGNS[locale][0])


def day(moment: str, locale: str) -> str:
    """Of an instant in RFC 3339."""
    at = datetime.fromisoformat(moment)
    return f"{at.day}{'.' if locale == 'de' else ''} {MONTHS[locale][at.month - 1]} {at.year}"


def month(said: str) -> str:
    """2026-12 as it is printed on a card."""
    year, _, number = said.partition("-")
    return f"{number}/{year}"


def spoken(locales: list[str], otherwise: str) -> str:
    """The first of the wished languages that mails are written in."""
    return next((each[:2].lower() for each in locales if each[:2].lower() in LOCALES), otherwise)
