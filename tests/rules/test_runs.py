"""What a run finds to differ is told with the class of the field that differs."""

from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.discounts import Discount
from billing.holds import digest
from billing.invoices import Invoice
from billing.runs import CLASSES, OF_INVOICE, SHOWN, invoice_drift, subscription_drift
from billing.theirs import Awaited, Schedule, Theirs

INSTANTS, WORDS = st.integers(0, 2**31), st.text("abc_", min_size=1, max_size=4)
OF_TYPE = {"str": WORDS, "int": INSTANTS, "bool": st.booleans(), "str | None": st.none() | WORDS}
OF_TYPE |= {"int | None": st.none() | INSTANTS}
OF_TYPE |= {"list[Discount]": st.lists(st.builds(Discount, id=WORDS, promotion=WORDS, code=WORDS), max_size=2)}
OF_TYPE |= {"Schedule | None": st.none() | st.builds(Schedule, id=WORDS, change=WORDS, price=st.none() | WORDS)}
OF_TYPE |= {"Awaited | None": st.none() | st.builds(Awaited, WORDS, WORDS, INSTANTS, WORDS, INSTANTS)}
COMPARED = [field for field in fields(Theirs) if field.compare]
VALUES = {field.name: OF_TYPE[str(field.type)] for field in COMPARED}
CLASS_OF = {
    "status": "status",
    "collection_paused": "status",
    "resumes_at": "status",
    "current_period_start": "period",
    "current_period_end": "period",
    "trial_ends_at": "period",
    "price": "plan",
    "quantity": "quantity",
    "cancel_at": "cancel_at",
    "cancel_at_period_end": "cancel_at",
}
SUBSCRIPTIONS = st.builds(Theirs, **VALUES)


def told_as(theirs, name):
    """No card is told, only that it is another."""
    value = asdict(theirs)[name]
    return digest(value)[:8] if name == "fingerprint" and value else value


@given(SUBSCRIPTIONS, st.data())
@pytest.mark.parametrize("name", VALUES)
def test_one_field_that_differs_has_its_class_or_is_other(name, before, data):
    after = replace(before, **{name: data.draw(VALUES[name].filter(lambda value: value != getattr(before, name)))})
    told = subscription_drift(after.id, "ada", before, after)

    assert told.classes == [CLASS_OF.get(name, "other")]
    assert (told.object, told.customer, told.repaired) == (after.id, "ada", False)
    wanted = [getattr(each, name) if name in CLASS_OF else told_as(each, name) for each in (before, after)]
    assert [told.before[name], told.after[name]] == wanted


@given(SUBSCRIPTIONS, SUBSCRIPTIONS)
def test_whatever_differs_is_told_and_nothing_that_does_not(before, after):
    differ = {name for name in VALUES if getattr(before, name) != getattr(after, name)}
    told = subscription_drift(after.id, "ada", before, after)

    of_table = {CLASS_OF[name] for name in differ & CLASS_OF.keys()}
    assert set(told.classes) == (of_table or {"other"}) and len(told.classes) == len(set(told.classes))
    assert {name for name in told.before if told.before[name] != told.after[name]} == differ
    assert told.before.keys() == told.after.keys() == differ | set(SHOWN)


def test_the_table_of_classes_names_fields_that_there_are_each_once():
    named = [name for names in CLASSES.values() for name in names]

    assert sorted(named) == sorted(CLASS_OF) and set(named) <= VALUES.keys()


@given(SUBSCRIPTIONS)
def test_what_one_side_does_not_have_is_missing_there(known):
    here, there = subscription_drift(known.id, "ada", None, known), subscription_drift(known.id, "ada", known, None)

    assert (here.classes, here.object, here.before) == (["missing_here"], known.id, {})
    assert (there.classes, there.object, there.after) == (["missing_there"], known.id, {})
    assert here.after == there.before == {name: getattr(known, name) for name in CLASS_OF}


OF_INVOICES = {field.name: OF_TYPE[str(field.type)] for field in fields(Invoice) if field.compare}
INVOICES = st.builds(Invoice, **OF_INVOICES)


@given(INVOICES, INVOICES)
def test_an_invoice_is_told_with_what_both_sides_say_of_it(before, after):
    told = invoice_drift(after.id, "ada", before, after)

    assert (told.classes, told.object) == (["invoice"], after.id)
    assert told.before == {name: getattr(before, name) for name in OF_INVOICE}
    assert told.after == {name: getattr(after, name) for name in OF_INVOICE}
    assert invoice_drift(after.id, "ada", None, after).classes == ["missing_here", "invoice"]
    assert invoice_drift(before.id, "ada", before, None).classes == ["missing_there", "invoice"]
