"""Follows what the functions of the running stack log to CloudWatch, until Ctrl-C."""

import time

from local.ministack import MiniStack
from local.running import running

PAUSE_S = 0.5
PLATFORM = ("START ", "END ", "REPORT ")  # Lambda's own, three for every call
LATE_MS = 5_000  # a line may come in after a younger one


def follow(aws: MiniStack) -> None:
    """Prints each line once, all that there are first."""
    logs, seen, latest = aws.client("logs"), set(), 0
    while True:
        for group in logs.describe_log_groups()["logGroups"]:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=max(0, latest - LATE_MS)
            )
            for event in (event for page in pages for event in page["events"]):
                line = event["logStreamName"], event["timestamp"], event["message"]  # MiniStack gives no eventId
                if line not in seen:
                    seen.add(line)
                    latest = max(latest, event["timestamp"])
                    if not event["message"].startswith(PLATFORM):
                        print(event["message"].rstrip(), flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    try:
        follow(MiniStack(running()["aws_endpoint"]))
    except KeyboardInterrupt:
        pass
