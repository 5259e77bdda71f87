"""
Our own check_entitlement, with a client of DynamoDB's of fifty lines in botocore's place, on nothing but the standard
library: to see what that would come to. It knows no retries, no throttling, no clock that is wrong, and no check of
what it is answered (docs: Signature Version 4, the example of a POST).
"""

import hashlib
import hmac
import http.client
import json
import os
import ssl
import sys
import time
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit


class ClientError(Exception):
    def __init__(self, status: int, said: dict):
        code = said.get("__type", "").rpartition("#")[2]
        self.response = said | {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class Client:
    def __init__(self, service: str, read_timeout: int, connect_timeout: int = 1, **_: Any):
        self.service = service
        self.host = urlsplit(os.environ["AWS_ENDPOINT_URL_DYNAMODB"]).netloc
        trusted = ssl.create_default_context(cafile=os.environ["TRUSTED"])
        self.wire = http.client.HTTPSConnection(self.host, timeout=read_timeout, context=trusted)

    def get_item(self, **asked: Any) -> dict:
        body = json.dumps(asked)
        self.wire.request("POST", "/", body, self._signed("DynamoDB_20120810.GetItem", body))
        answer = self.wire.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200:
            raise ClientError(answer.status, said)
        return said

    def _signed(self, target: str, body: str) -> dict[str, str]:
        at, region = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), os.environ["AWS_DEFAULT_REGION"]
        headers = {"content-type": "application/x-amz-json-1.0", "host": self.host, "x-amz-date": at}
        headers |= {"x-amz-security-token": os.environ["AWS_SESSION_TOKEN"], "x-amz-target": target}
        names, scope = ";".join(headers), f"{at[:8]}/{region}/{self.service}/aws4_request"
        lines = "\n".join(f"{name}:{value}" for name, value in headers.items())
        asked = f"POST\n/\n\n{lines}\n\n{names}\n{hashlib.sha256(body.encode()).hexdigest()}"
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        known = f"Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
        return headers | {"authorization": f"AWS4-HMAC-SHA256 {known}, SignedHeaders={names}, Signature={key.hex()}"}


def stand_in() -> None:
    """For the modules that our doors import."""
    aws, botocore, exceptions = (ModuleType(name) for name in ("billing.aws", "botocore", "botocore.exceptions"))
    vars(aws).update(client=Client)
    vars(exceptions).update(ClientError=ClientError, BotoCoreError=OSError)
    sys.modules |= {"billing.aws": aws, "botocore": botocore, "botocore.exceptions": exceptions}
    import billing

    setattr(billing, "aws", aws)  # noqa: B010


stand_in()

from check_entitlement import handler  # noqa: E402, F401
