import pytest

from billing.errors import ReturnUrlRefused
from billing.return_urls import LONGEST, allowed, permitted

HOSTS = allowed("app.example.com, Shop.Example.com:8443,localhost, 127.0.0.1,,")


def test_the_list_of_the_deployer_is_read_without_spaces_and_in_small_letters():
    assert HOSTS == {"app.example.com", "shop.example.com:8443", "localhost", "127.0.0.1"}


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com",
        "https://app.example.com/",
        "https://APP.Example.com/done?session={CHECKOUT_SESSION_ID}#top",
        "https://app.example.com?next=https://evil.io",
        "https://app.example.com/%0a%5c@evil.io",
        "https://shop.example.com:8443/done",
        "http://localhost/done",
        "http://localhost:5173/done",
        "https://localhost:5173/done",
        "http://127.0.0.1:3000",
    ],
)
def test_a_url_of_a_host_that_is_allowed_is_taken_as_it_is(url):
    assert permitted(url, HOSTS) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example.com",
        "/done",
        "//app.example.com/done",
        "https:app.example.com",
        "https:/app.example.com",
        "https:///app.example.com",
        "http://app.example.com/",  # TLS is required
        "HTTPS://app.example.com/",  # letter for letter
        "javascript:alert(1)//https://app.example.com",
        "javascript://app.example.com/%0aalert(1)",
        "data:text/html,https://app.example.com",
        "ftp://app.example.com/",
        "custom+app://app.example.com/",
        "https://evil.io/",
        "https://evil.io/app.example.com",
        "https://evil.io?app.example.com",
        "https://evil.io#app.example.com",
        "https://app.example.com.evil.io/",
        "https://evilapp.example.com/",
        "https://x.app.example.com/",
        "https://example.com/",
        "https://app.example.com./",
        "https://app.example.com:443/",  # a port stands in the list, or there is none
        "https://app.example.com:/",
        "https://app.example.com:8443/",
        "https://shop.example.com/",
        "https://shop.example.com:443/",
        "https://app.example.com@evil.io/",
        "https://ada@app.example.com/",
        "https://ada:secret@app.example.com/",
        "https://app.example.com%40evil.io/",
        "https://app.example.com;evil.io/",
        "https://app.example.com,evil.io/",
        "https://app.example.com\\@evil.io/",
        "https://evil.io\\@app.example.com/",
        "https://app.example.com/\\evil.io",
        "https:\\\\app.example.com/",
        "https://app.example.com /",
        " https://app.example.com/",
        "https://app.example.com/\n",
        "https://app.example.com\t.evil.io/",
        "https://app.example.com/\r\nSet-Cookie: a=b",
        "https://app.example.com/\x00",
        "https://app.example.com/\x7f",
        "https://app.example.com/\u202e",
        "https://аpp.example.com/",  # noqa: RUF001  a Cyrillic letter
        "https://app。example。com/",  # what browsers take for dots
        "https://[::1]/",
        "https://[app.example.com]/",
        "http://localhost.evil.io/",
        "http://localhost:80@evil.io/",
        "http://localhost:port/",
        "http://localhost:/",
        "http://127.0.0.1.evil.io/",
        "http://127.1/",
        "http://2130706433/",
        "https://app.example.com/" + "a" * LONGEST,
    ],
)
def test_any_other_is_refused(url):
    with pytest.raises(ReturnUrlRefused):
        permitted(url, HOSTS)


@pytest.mark.parametrize("url", ["http://localhost:5173/", "https://localhost/", "http://127.0.0.1/"])
def test_our_own_machine_is_a_host_like_any_other(url):
    with pytest.raises(ReturnUrlRefused):
        permitted(url, allowed("app.example.com"))


def test_where_no_host_is_allowed_none_is():
    with pytest.raises(ReturnUrlRefused):
        permitted("https://app.example.com/", allowed(""))
