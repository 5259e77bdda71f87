"""The door to SES. What it answers may name an address, so none of its messages leaves here: codes do."""

import os
from email.utils import formataddr
from functools import cache

from botocore.exceptions import BotoCoreError, ClientError

from billing import aws
from billing.errors import MailRefused, Unavailable

AWAY = {"TooManyRequestsException", "LimitExceededException", "ThrottlingException", "Throttling"}


@cache
def ses():
    """Never again by itself: an answer that was lost may be one of a mail that was sent."""
    return aws.client("sesv2", read_timeout=8, connect_timeout=2, retries={"total_max_attempts": 1})


def sender() -> str:
    """ "": nobody sends mails here."""
    return os.environ["MAIL_FROM"]


def send(to: str, subject: str, text: str, html: str, tags: dict[str, str]) -> None:
    """
    Returns once SES has it. `tags` come back with what becomes of it: letters, digits, _ and - alone.

    MailRefused: it will not be taken until somebody sees to it. Unavailable: later; it may have been taken.
    """
    answer_to = os.environ["MAIL_REPLY_TO"]
    said = {"Subject": subject, "Text": text, "Html": html}
    content = {name: {"Data": value, "Charset": "UTF-8"} for name, value in said.items()}
    try:
        ses().send_email(
            FromEmailAddress=formataddr((os.environ["MAIL_NAME"], sender())),
            Destination={"ToAddresses": [to]},
            ReplyToAddresses=[answer_to] if answer_to else [],
            Content={"Simple": {"Subject": content.pop("Subject"), "Body": content}},
            EmailTags=[{"Name": name, "Value": value} for name, value in tags.items()],
            ConfigurationSetName=os.environ["MAIL_SET"],
        )
    except ClientError as answer:
        code = answer.response["Error"]["Code"]
        if code in AWAY or answer.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise Unavailable("SES is busy or failed") from None
        raise MailRefused(code) from None
    except BotoCoreError:
        raise Unavailable("SES did not answer") from None
