"""Where Stripe's pages may send a customer back to: only to hosts that the deployer allows."""

import re
from collections.abc import Collection

from billing.errors import ReturnUrlRefused

LONGEST = 2000  # characters
LOCAL = re.compile(r"(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")  # a developer's own machine: without TLS, on any port
SHAPE = re.compile(r"(https?)://([^/?#]+)([/?#].*)?")  # scheme, authority, the rest


def permitted(url: str, hosts: Collection[str]) -> str:
    """
    The URL as it was given, if it leads to one of the hosts; else ReturnUrlRefused.

    The authority has to be a host of the list letter for letter, so that nothing depends on how a browser would read
    user names, dots, ports and backslashes: a port is allowed by standing in the list. Source: OWASP, Unvalidated
    redirects and forwards.
    """
    found = SHAPE.fullmatch(url) if len(url) <= LONGEST and url.isascii() and url.isprintable() else None
    if not found or " " in url or "\\" in url:
        raise ReturnUrlRefused("no absolute URL in printable ASCII: percent-encode the rest")
    scheme, authority = found[1], found[2].lower()
    local = LOCAL.fullmatch(authority)
    if (local[1] if local else authority) not in hosts and authority not in hosts:
        raise ReturnUrlRefused("not a host that is allowed")
    if scheme != "https" and not local:
        raise ReturnUrlRefused("https is required")
    return url


def allowed(listed: str) -> frozenset[str]:
    """The hosts of a list with commas."""
    return frozenset(host.strip().lower() for host in listed.split(",") if host.strip())
