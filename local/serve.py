"""`make serve`: the local stack, until Ctrl-C. Its tokens open nothing but itself, so they may stand on a terminal."""

import logging
import signal
import sys

from local.running import publish, withdraw
from local.stack import Stack, local_stack, other_stripe

GREETING = """
  API        {api_url}
  Webhooks   {webhook_url}
  AWS        {aws_endpoint}   (AWS_ENDPOINT_URL; region {region}, key and secret: test)
  Stripe     {stripe_base}

  Ada, a customer       {customer}

  the product's backend {service}

  an operator           {admin}

  Try        curl -s -H "Authorization: Bearer $(make -s token CUSTOMER=ada)" '{api_url}/subscription'
  Others     make token CUSTOMER=bob   make token CUSTOMER=shop SCOPE=billing/service
  Logs       make logs
  Stop       Ctrl-C
"""


def greeting(stack: Stack) -> str:
    tokens = {
        "customer": stack.token("ada"),
        "service": stack.token("backend", "billing/service"),
        "admin": stack.token("operator", "billing/admin"),
    }
    return GREETING.format(**stack.published(), **tokens)


def main() -> None:
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("local").setLevel(logging.INFO)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(0))  # so that what was started is stopped
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it runs in the background
    try:
        with local_stack(other_stripe()) as stack:
            publish(stack.published())
            try:
                print(greeting(stack), flush=True)
                signal.pause()
            finally:
                withdraw()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
