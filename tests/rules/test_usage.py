from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing import usage
from billing.entitlements import Measure, Tariff
from billing.periods import Period
from billing.plans import Metric, Plan
from billing.tallies import Known, Tally, rank
from billing.usage import DAY, Slot, Unfit

NOW = 1_795_000_000
GIVEN = {"customer_id": "ada", "metric_id": "api_calls", "quantity": 5, "idempotency_key": "k"}
TARIFF = Tariff(Plan("pro", 1, "Pro", "month", "usd", 0), NOW, "month")
SLOT = Slot("ada", "api_calls", Period(NOW - DAY, NOW + DAY), "", True, 10, "1")


def read(**fields):
    return usage.read(GIVEN | fields, NOW)


def refused(**fields):
    with pytest.raises(Unfit) as unfit:
        usage.timely(read(**fields), NOW)
    return unfit.value.reason, unfit.value.field


def test_an_event_without_a_time_is_of_now_and_the_same_event_whenever_it_is_sent_again():
    later = usage.read(GIVEN, NOW + DAY)

    assert (read().at, later.at) == (NOW, NOW + DAY)
    assert (later.id, later.fingerprint) == (read().id, read().fingerprint)


def test_a_time_is_read_with_its_offset():
    assert read(timestamp="2026-11-23T12:30:00.5+05:30").at == read(timestamp="2026-11-23T07:00:00Z").at
    assert read(timestamp="2026-11-23t07:00:00z").at == 1_795_417_200


def test_an_event_is_known_by_its_customer_and_key_and_no_two_of_them_run_together():
    assert read().id == read(metric_id="other", quantity=9, timestamp="2026-11-23T07:00:00Z").id
    assert len({read(customer_id=c, idempotency_key=k).id for c, k in (("a", "bc"), ("ab", "c"), ("a1", "1"))}) == 3


@pytest.mark.parametrize(
    "other",
    [
        *({"quantity": 6}, {"metric_id": "other"}, {"timestamp": "2026-11-23T07:00:00Z"}, {"metadata": {"a": "b"}}),
        {"value": "bob"},
    ],
    ids=repr,
)
def test_another_body_has_another_fingerprint(other):
    assert read(**other).fingerprint != read().fingerprint


@pytest.mark.parametrize(
    "quantity", [1.0, "5", True, None, 10**12 + 1, -(10**12) - 1, 10**30, float("nan"), [], {}], ids=repr
)
def test_a_quantity_is_a_whole_number_within_bounds(quantity):
    assert refused(quantity=quantity) == ("bad_quantity", "quantity")


@pytest.mark.parametrize(
    ("metric", "fits", "unfit"),
    [
        (Metric("l"), (1, 10**12), (0, -1, -(10**12))),
        (Metric("l", aggregation="max"), (0, 1), (-1,)),
        (Metric("l", aggregation="last"), (0, 1), (-1,)),
        (Metric("l", kind="held", reset="never"), (1, -1), (0,)),
    ],
    ids=["sum", "max", "last", "held"],
)
def test_which_quantities_count_is_for_the_metric_to_say(metric, fits, unfit):
    measure = Measure("api_calls", metric, TARIFF)

    for quantity in fits:
        measure.suits(read(quantity=quantity))
    for quantity in unfit:
        with pytest.raises(Unfit) as refusal:
            measure.suits(read(quantity=quantity))
        assert (refusal.value.reason, refusal.value.field) == ("bad_quantity", "quantity")


def test_different_ones_are_told_by_their_values_and_nothing_else_has_any():
    unique = Measure("users", Metric("l", aggregation="unique"), TARIFF)
    one = {name: given for name, given in GIVEN.items() if name != "quantity"}
    unique.suits(usage.read(one | {"value": "bob"}, NOW))
    unique.suits(read(quantity=1, value="bob"))

    for measure, field, event in (
        (unique, "value", read(quantity=1)),
        (unique, "quantity", read(quantity=2, value="bob")),
        (unique, "quantity", read(quantity=0, value="bob")),
        (Measure("api_calls", Metric("l"), TARIFF), "value", read(value="bob")),
    ):
        with pytest.raises(Unfit) as refusal:
            measure.suits(event)
        assert refusal.value.field == field


@pytest.mark.parametrize("value", ["", "x" * 256, "é", "a\n", 7, [], False], ids=repr)
def test_a_value_is_short_printable_ascii(value):
    assert refused(value=value) == ("malformed", "value")


@pytest.mark.parametrize("name", ["customer_id", "metric_id", "idempotency_key"])
@pytest.mark.parametrize("text", ["", "x" * 256, "é", "a\n", "a\x00", None, 7, []], ids=repr)
def test_names_and_keys_are_short_printable_ascii(name, text):
    assert refused(**{name: text}) == ("malformed", name)


@pytest.mark.parametrize(
    "timestamp",
    [
        *("2026-11-23T12:00:00", "2026-11-23", "2026-W48-1", "20261123T120000Z", "yesterday", ""),
        *("2026-02-30T00:00:00Z", "2026-11-23T25:00:00Z", "0000-01-01T00:00:00Z", "2026-11-23T12:00:00+99:99"),
        *(1_795_000_000, 0, True, {}, "2026-11-23T12:00:00Z\n", "٢٠٢٦-11-23T12:00:00Z"),
    ],
    ids=repr,
)
def test_a_time_without_an_offset_or_out_of_the_calendar_is_none(timestamp):
    assert refused(timestamp=timestamp) == ("bad_timestamp", "timestamp")


def test_what_is_too_old_to_be_told_from_its_copy_is_refused_and_so_is_the_future():
    assert refused(timestamp="1970-01-01T00:00:00Z") == ("too_old", "timestamp")
    assert refused(timestamp="0001-01-01T00:00:00+23:59") == ("too_old", "timestamp")
    assert refused(timestamp="9999-12-31T23:59:59-23:59") == ("in_the_future", "timestamp")
    usage.timely(replace(read(), at=NOW + 300), NOW)
    usage.timely(replace(read(), at=NOW - usage.RETENTION), NOW)


@pytest.mark.parametrize(
    "metadata", [[], "x", {"": "a"}, {"a": 1}, {"a": {"b": "c"}}, {"a": "x" * 2048}, 0, False], ids=repr
)
def test_metadata_is_a_small_flat_object_of_strings(metadata):
    assert refused(metadata=metadata) == ("malformed", "metadata")


def test_what_we_do_not_know_is_not_ignored():
    assert refused(quantty=5) == ("unknown_field", "quantty")


@pytest.mark.parametrize("event", [None, 7, "x", [], [GIVEN]], ids=repr)
def test_what_is_no_event_is_rejected_and_names_nobody(event):
    with pytest.raises(Unfit) as unfit:
        usage.read(event, NOW)

    answer = usage.rejected(event, unfit.value)
    assert (answer["status"], answer["customer_id"], answer["idempotency_key"]) == ("rejected", None, None)


def test_under_a_hard_limit_each_event_that_fits_in_the_order_of_the_request():
    events = [read(idempotency_key=str(n), quantity=n) for n in (4, 7, 2, 3)]

    assert [event.quantity for event in SLOT.fit(events, Tally(1), {})] == [4, 2, 3]
    assert SLOT.fit(events, Tally(10), {}) == []


@settings(derandomize=True)
@given(st.lists(st.integers(1, 20)), st.integers(0, 60), st.integers(0, 60))
def test_what_fits_never_passes_the_limit_and_nothing_that_fits_is_left_out(quantities, used, limit):
    events = [read(idempotency_key=str(n), quantity=quantity) for n, quantity in enumerate(quantities)]
    chosen = SLOT._replace(limit=limit).fit(events, Tally(used), {})

    after = used + sum(event.quantity for event in chosen)
    assert after <= limit or not chosen
    assert all(after + event.quantity > limit for event in events if event not in chosen)


def test_nothing_but_a_hard_limit_turns_an_event_away():
    events = [read(quantity=10**12)]

    assert SLOT._replace(hard=False).fit(events, Tally(), {}) == events
    assert SLOT._replace(limit=None).fit(events, Tally(), {}) == events


def test_terms_only_go_forward():
    older_first = ["", "1", "1:free:1", "1:free:2", "2", "2:free:2", "10"]

    for n, terms in enumerate(older_first):
        assert [usage.supersedes(terms, other) for other in older_first] == [m < n for m in range(len(older_first))]


def test_another_default_plan_is_another_deployment_and_takes_over():
    assert usage.supersedes("1:basic:1", "1:free:9") and usage.supersedes("1:-:0", "1:free:9")


def test_whether_access_has_come_back_by_time_is_known_to_whoever_has_just_read_the_record():
    assert not usage.supersedes("2", "2:free:9") and usage.supersedes("2", "2:free:9", fresh=True)
    assert usage.supersedes("2:free:9", "2", fresh=True)
    for newer in ("2", "2:free:9", "3"):
        assert not usage.supersedes("2:free:8" if ":" in newer else "2", newer, fresh=True)


HELD = SLOT._replace(held=True)


def course(used, events):
    """What there is after each event."""
    return [used := used + event.quantity for event in events]


@settings(derandomize=True)
@given(st.lists(st.integers(-9, 9).filter(bool), max_size=8), st.integers(0, 20))
def test_what_is_held_never_goes_below_zero_nor_up_above_its_limit(quantities, used):
    events = [read(idempotency_key=str(n), quantity=quantity) for n, quantity in enumerate(quantities)]
    chosen = HELD.fit(events, Tally(used), {})

    for event, after in zip(chosen, course(used, chosen), strict=True):
        assert after >= 0 and (after <= 10 or event.quantity < 0)


@settings(derandomize=True)
@given(st.lists(st.integers(-9, 9).filter(bool), min_size=1, max_size=8), st.integers(0, 20), st.integers(0, 30))
def test_the_bounds_of_a_write_are_those_within_which_all_of_it_fits(quantities, used, other):
    events = [read(idempotency_key=str(n), quantity=quantity) for n, quantity in enumerate(quantities)]
    least, most = HELD.bounds(events)
    within = (least is None or other >= least) and (most is None or other <= most)

    assert within == (HELD.fit(events, Tally(other), {}) == events)


def test_a_peak_and_a_level_are_held_against_the_limit_by_themselves():
    events = [read(idempotency_key=str(n), quantity=n) for n in (4, 11, 10)]

    for how in ("max", "last"):
        slot = SLOT._replace(aggregation=how)
        assert [event.quantity for event in slot.fit(events, Tally(30), {})] == [4, 10]
        assert [event.quantity for event in slot._replace(hard=False).over(events, Tally(30), {})] == [11]
        assert slot.bounds(events) == (None, None)


def test_of_different_ones_only_a_new_one_takes_room():
    slot, known = SLOT._replace(aggregation="unique", limit=2), {"bob": Known(3), "dan": Known(0)}
    events = [
        read(idempotency_key=str(n), quantity=1, value=value) for n, value in enumerate(("bob", "dan", "eve", "dan"))
    ]

    assert [event.value for event in slot.fit(events, Tally(1), known)] == ["bob", "dan", "dan"]
    assert slot.after(slot.fit(events, Tally(1), known), Tally(1), known) == 2
    assert (slot.bounds(events, fresh=2), slot.bounds(events, fresh=0)) == ((None, 0), (None, None))


def test_what_is_used_afterwards_is_told_for_every_way_of_adding_up():
    early, late = read(idempotency_key="a", quantity=3), read(idempotency_key="b", quantity=2)
    met = Tally(4, latest=rank(replace(early, at=early.at + 5).use))
    later = replace(late, at=late.at + 60)

    assert SLOT.after([early, late], met, {}) == 9
    assert SLOT._replace(aggregation="max").after([early, late], met, {}) == 4
    assert SLOT._replace(aggregation="last").after([early], met, {}) == 4
    assert SLOT._replace(aggregation="last").after([later, early], met, {}) == 2
    assert SLOT.after([], met, {}) == 4
