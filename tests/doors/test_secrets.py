import json

import pytest

from billing import secrets
from billing.errors import Misconfigured


def test_a_new_webhook_secret_is_seen_within_a_minute(aws, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(secrets.time, "monotonic", lambda: now[0])
    before = secrets.stripe()
    rolled = before | {"webhook_secrets": ["whsec_new", *before["webhook_secrets"]]}
    secrets.manager().put_secret_value(SecretId="stripe", SecretString=json.dumps(rolled))

    assert secrets.stripe() == before
    now[0] += 60
    assert secrets.stripe() == rolled


def test_what_is_known_goes_on_being_used_while_the_secret_cannot_be_read(aws, monkeypatch):
    known = secrets.stripe()
    monkeypatch.setenv("STRIPE_SECRET", "gone")
    monkeypatch.setattr(secrets, "FRESH", 0)

    assert secrets.stripe() == known
    secrets._known.clear()
    with pytest.raises(Misconfigured):
        secrets.stripe()


def test_a_key_of_stripes_other_mode_is_not_used(api, stripe):
    live = {"api_key": "sk_live_x", "webhook_secrets": []}
    secrets.manager().put_secret_value(SecretId="stripe", SecretString=json.dumps(live))
    answer = api("PUT", "/customer", {"name": "Ada"})

    assert (answer.status, answer.json["code"], stripe.calls) == (503, "misconfigured", [])
