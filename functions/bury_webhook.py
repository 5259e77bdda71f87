"""Dead-letter queue: events that have waited too long, or whose workers were killed before they could say why."""

from aws_lambda_powertools import Logger

from billing import queue, webhook_table
from billing.api import alarmed
from billing.errors import Malformed

logger = Logger()


@logger.inject_lambda_context
def handler(batch: dict, context) -> None:
    for message in batch["Records"]:
        try:
            event = queue.received(message)
        except Malformed:
            alarmed("unreadable", message_id=message["messageId"])
            continue
        if webhook_table.bury(event, "no worker lived to finish it"):
            logger.error("buried", event=event.id, type=event.type)
