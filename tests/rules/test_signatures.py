import hmac
from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import signatures

# Of the reference implementations (standard-webhooks/standard-webhooks, libraries): all of them sign it alike.
SECRET, ID, AT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY, SIGNED = b'{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OLD = "whsec_" + b64encode(b"k" * 24).decode()


def verifies(secret, headers, body):
    """As the specification has it, for whoever knows one secret: any of the signatures may be the one."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = b64encode(hmac.new(signatures.key(secret), content, sha256).digest()).decode()
    return any(each == f"v1,{wanted}" for each in headers["webhook-signature"].split(" "))


def test_what_the_reference_implementations_sign_is_signed_alike():
    assert signatures.headers(ID, AT, BODY, [signatures.key(SECRET)]) == {
        "webhook-id": ID,
        "webhook-timestamp": str(AT),
        "webhook-signature": SIGNED,
    }


def test_while_a_secret_is_changed_whoever_knows_the_old_or_the_new_one_is_content():
    headers = signatures.headers(ID, AT, BODY, [signatures.key(SECRET), signatures.key(OLD)])

    assert headers["webhook-signature"].startswith(SIGNED + " v1,")
    assert verifies(SECRET, headers, BODY) and verifies(OLD, headers, BODY)
    assert not verifies("whsec_" + b64encode(b"x" * 24).decode(), headers, BODY)
    assert not verifies(OLD, headers, BODY + b" ") and not verifies(OLD, headers | {"webhook-id": "msg_x"}, BODY)
    assert not verifies(OLD, headers | {"webhook-timestamp": str(AT + 1)}, BODY)


@pytest.mark.parametrize("id", ["ada:7", "org_1A-b:12", "8f3c2a:1"])
def test_the_id_of_a_customer_with_a_plain_name_is_signed_as_it_is(id):
    assert signatures.name(id) == id


NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)


@given(NAMES, NAMES)
def test_no_id_holds_a_full_stop_or_a_space_and_no_two_are_called_the_same(one, other):
    assert not set(signatures.name(one)) & set(". \t")
    assert (signatures.name(one) == signatures.name(other)) == (one == other)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!",
        SECRET[:-1],
        SECRET.removeprefix("whsec_"),
        SECRET.replace("whsec_", "whsk_"),
        "whsec_" + b64encode(b"k" * 23).decode(),
        "whsec_" + b64encode(b"k" * 65).decode(),
    ],
)
def test_what_is_no_secret_signs_nothing(secret):
    with pytest.raises(ValueError):
        signatures.key(secret)
