import pytest

from billing.endpoints import AGAIN, FEWEST, PATIENCE, Endpoint, delay

AT = 1_795_000_000


def test_an_event_is_tried_eight_times_within_little_more_than_a_day():
    delays = [delay(attempts, 0, jitter=0) for attempts in range(1, 9)]
    assert delays == [5, 300, 1800, 7200, 18_000, 36_000, 36_000, None] and sum(AGAIN) < 28 * 3600
    assert delay(20, 0, jitter=1) is None


def test_not_all_at_once_and_never_longer_than_sqs_hides_a_message():
    assert delay(2, 0, jitter=1) == 330
    assert max(delay(attempts, 10**9, jitter=1) or 0 for attempts in range(1, 8)) < 43_200


def test_who_asks_us_to_stay_away_is_left_alone_for_as_long():
    assert (delay(1, 120, 0), delay(1, 1, 0), delay(3, 120, 0)) == (120, 5, 1800)


@pytest.mark.parametrize(
    ("since", "failures", "status", "reason"),
    [
        (None, 0, 410, "gone"),
        (None, 0, 500, None),
        (AT - PATIENCE, FEWEST - 1, 500, "failing"),
        (AT - PATIENCE, FEWEST - 1, None, "failing"),
        (AT - PATIENCE + 1, 10_000, 500, None),
        (AT - 2 * PATIENCE, FEWEST - 2, 500, None),
    ],
)
def test_who_is_told_nothing_any_more(since, failures, status, reason):
    assert Endpoint(since, failures).disabled_by(status, AT) == reason


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", None),
        ("https://example.com/hooks/billing?token=s3cret", "https://example.com/hooks/billing"),
        ("https://u:p@example.com:8443/x", "https://example.com:8443/x"),
    ],
)
def test_what_may_be_a_secret_of_the_url_is_not_told(url, told):
    assert Endpoint().public(url)["url"] == told
