"""The door to EventBridge Scheduler: what is to be done later, each by a schedule for one time."""

import json
import os
from datetime import UTC, datetime
from functools import cache

from botocore.exceptions import BotoCoreError, ClientError

from billing import aws
from billing.errors import Unavailable

SOON = 60  # seconds: a schedule is to the minute (docs: EventBridge Scheduler, schedule types)


@cache
def scheduler():
    """Whoever arranges something has other things to do, and the sweep arranges it again: it is asked once."""
    return aws.client("scheduler", read_timeout=2, retries={"total_max_attempts": 1})


def carry_on(name: str, function: str, event: dict, at: int) -> None:
    """What Lambda's limit has cut short goes on in a minute."""
    once(name, function, event, at + SOON)


def once(name: str, function: str, event: dict, when: int) -> None:
    """Invoke a function with an event at an instant, once; a name that is there already is that schedule."""
    try:
        scheduler().create_schedule(
            Name=name,
            GroupName=os.environ["SCHEDULES"],
            ScheduleExpression=f"at({datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target={"Arn": function, "RoleArn": os.environ["SCHEDULER_ROLE"], "Input": json.dumps(event)},
        )
    except scheduler().exceptions.ConflictException:
        return
    except (BotoCoreError, ClientError) as failure:
        raise Unavailable("the schedule could not be made") from failure
