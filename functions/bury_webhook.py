"""Dead-letter queue: events that have waited too long, or whose workers were killed before they could say why."""

from billing import log, queue, webhook_table
from billing.errors import Malformed


def handler(batch: dict, context) -> None:
    for message in batch["Records"]:
        try:
            event = queue.received(message)
        except Malformed:
            log.alarmed("unreadable", message_id=message["messageId"])
            continue
        if webhook_table.bury(event, "no worker lived to finish it"):
            log.error("buried", event=event.id, type=event.type)
