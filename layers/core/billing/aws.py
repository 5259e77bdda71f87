"""
The door to AWS, for the doors to its services. It is botocore alone: boto3 adds nothing that is used here but its time
to load.
"""

import logging
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config

logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells where it found its credentials


@cache
def session() -> botocore.session.Session:
    """Knows who we are and where, from the time of its first client on."""
    return botocore.session.get_session()


def client(service: str, read_timeout: int, connect_timeout: int = 1, **config: Any) -> Any:
    """Of a service by botocore's name; seconds, and whatever else botocore's Config takes."""
    patience = Config(connect_timeout=connect_timeout, read_timeout=read_timeout, **config)
    return session().create_client(service, config=patience)
