import json

from billing import secrets


def test_a_new_webhook_secret_is_seen_within_a_minute(aws, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(secrets.time, "monotonic", lambda: now[0])
    before = secrets.stripe()
    rolled = before | {"webhook_secrets": ["whsec_new", *before["webhook_secrets"]]}
    secrets.manager().put_secret_value(SecretId="stripe", SecretString=json.dumps(rolled))

    assert secrets.stripe() == before
    now[0] += 60
    assert secrets.stripe() == rolled
