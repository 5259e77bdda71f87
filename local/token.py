"""A token for the stack that `make serve` holds up."""

import argparse
import json
from urllib.parse import urlencode
from urllib.request import urlopen

from local.running import running

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make token")
    parser.add_argument("customer", help="CUSTOMER=ada: who is signed in, or who the backend is")
    parser.add_argument("--scope", help="SCOPE=billing/service or billing/admin", default="")
    asked = vars(parser.parse_args())
    with urlopen(f"{running()['issuer']}/token?{urlencode(asked)}") as answer:
        print(json.load(answer)["token"])
