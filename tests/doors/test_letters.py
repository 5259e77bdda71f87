"""Every mail, in every language."""

import re
from dataclasses import replace

import pytest

from billing import letters, wording
from local import mails as sample_mails

HOSTILE = '<script>alert("x")</script>\n\nPay: {{ here }}'
SAMPLES = list(sample_mails.samples())


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    for name, value in sample_mails.SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("locale", sorted(wording.LOCALES))
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_mail_is_whole_in_every_language(sample, locale):
    letter = sample_mails.write(sample, locale)
    assert letter.subject and "\n" not in letter.subject and len(letter.subject) < 90
    for said in letter:
        assert not re.search(r"\{[{%#]|[}%#]\}|\bNone\b|\bundefined\b", said)
    assert f'<html lang="{locale}">' in letter.html and letter.html.count("<p ") >= 4
    assert "<" not in letter.text and "\n\n\n" not in letter.text
    for said in (letter.text, letter.html):
        assert "Ada Lovelace" in said and "Acme Ltd, 1 Example Street" in said
        assert "https://" in said.replace("https://www.w3.org", "")
    assert max(len(line) for line in letter.text.splitlines() if "https://" not in line) <= letters.WIDTH


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_no_language_stands_for_another(sample):
    english, german = (sample_mails.write(sample, locale) for locale in ("en", "de"))
    assert english.subject != german.subject and english.text != german.text


def test_steps_of_dunning_say_what_is_due_when_and_in_the_end_what_has_happened():
    written = {each.name: sample_mails.write(each, "en") for each in SAMPLES}
    first = written["payment_failed-first"]
    assert "EUR 1,234.50" in first.subject and "26 November 2026" in first.text
    assert "keep your access until 29 November 2026" in " ".join(first.text.split())
    assert written["payment_failed-later"].subject.startswith("Reminder: ")
    assert "your access has ended" in " ".join(written["payment_failed-cancelled"].text.split())
    assert "You do not owe it" not in first.text and "void" in written["payment_failed-free-plan"].text
    assert sample_mails.PAGE in written["payment_failed-free-plan"].text  # there is no invoice to pay any more


@pytest.mark.parametrize(
    "ends, says",
    [
        ("end_access", "on 3 December 2026, your access ends."),
        ("cancel", "on 3 December 2026, your subscription is cancelled and your access ends."),
        ("free_plan", "on 3 December 2026, your subscription ends and you move to the free plan."),
    ],
)
def test_the_last_step_but_one_says_what_the_last_one_will_do(ends, says):
    (sample,) = [each for each in SAMPLES if each.name == "action_required-last-but-one"]
    far = sample.found._replace(plan=replace(sample_mails.TEAM, grace_days=60))
    coming = sample._replace(data=sample.data | {"ends": ends}, found=far)
    assert says in " ".join(sample_mails.write(coming, "en").text.split())


@pytest.mark.parametrize("locale", sorted(wording.LOCALES))
def test_nothing_that_a_customer_or_a_plan_is_called_is_markup_or_a_line_of_its_own(locale, monkeypatch):
    monkeypatch.setenv("MAIL_NAME", HOSTILE)
    for sample in SAMPLES:
        ours = replace(sample.found.ours, profile=replace(sample.found.ours.profile, name=HOSTILE))
        names = dict.fromkeys(sample.found.names, HOSTILE)
        letter = sample_mails.write(sample._replace(found=sample.found._replace(ours=ours, names=names)), locale)
        assert "<script" not in letter.html and "&lt;script&gt;" in letter.html
        assert "\n" not in letter.subject
        assert "\n\nPay:" not in letter.text and ">Pay</td>" not in letter.html


def test_where_there_is_no_page_to_go_to_there_is_no_button(monkeypatch):
    monkeypatch.setattr(sample_mails, "PAGE", "")
    letters_of = {each.name: sample_mails.write(each, "en") for each in SAMPLES}
    assert "href" not in letters_of["card_expiring"].html and "://" not in letters_of["card_expiring"].text
    assert 'href="https://invoice.stripe.com' in letters_of["payment_method_needed-first"].html
