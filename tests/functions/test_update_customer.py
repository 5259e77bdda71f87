import pytest

PROFILE = {"email": "ada@example.com", "name": "Ada", "locale": "en", "address": {"city": "London", "country": "GB"}}


def of(stripe):
    (customer,) = stripe.customers.values()
    return customer


def test_stripe_has_who_pays_as_we_were_told(api, stripe):
    answer = api("PUT", "/customer", PROFILE)

    assert (answer.status, answer.json["id"], answer.json["email"]) == (200, "ada", "ada@example.com")
    theirs = of(stripe)
    assert (theirs["email"], theirs["name"], theirs["preferred_locales"]) == ("ada@example.com", "Ada", ["en"])
    assert (theirs["address"]["city"], theirs["metadata"]["customer"]) == ("London", "ada")


def test_what_is_not_named_is_emptied_and_the_customer_stays_one(api, stripe):
    api("PUT", "/customer", PROFILE)
    answer = api("PUT", "/customer", {"email": "ada@example.org"})

    assert (answer.json["email"], answer.json["name"], answer.json["address"]) == ("ada@example.org", None, None)
    assert (of(stripe)["email"], of(stripe)["name"] or None) == ("ada@example.org", None)


def test_a_tax_id_replaces_the_one_before(api, stripe):
    for value in ("DE123456789", "DE987654321", "DE987654321"):
        assert api("PUT", "/customer", {"tax_id": {"type": "eu_vat", "value": value}}).status == 200
    _, kept = stripe.handle("GET", f"/v1/customers/{of(stripe)['id']}/tax_ids")

    assert [each["value"] for each in kept["data"]] == ["DE987654321"]


def test_a_key_means_one_profile(api, stripe):
    first, again = (api("PUT", "/customer", PROFILE, key="k") for _ in range(2))

    assert again.json == first.json
    assert api("PUT", "/customer", {"name": "Bob"}, key="k").json["code"] == "idempotency_key_reused"


def test_personal_data_is_in_no_log(api, stripe, caplog):
    api("PUT", "/customer", PROFILE)
    logged = str([vars(record) for record in caplog.records])

    assert "answered" in logged and "ada@example.com" not in logged


@pytest.mark.parametrize("wrong", [{"email": "ada"}, {"locale": "english"}, {"address": {"planet": "x"}}, {"id": "x"}])
def test_what_cannot_be_read_is_refused_by_its_field(api, stripe, wrong):
    answer = api("PUT", "/customer", PROFILE | wrong)

    assert (answer.status, answer.json["fields"][0]["field"].split(".")[0]) == (400, next(iter(wrong)))
    assert len(stripe.customers) == 0
