"""Follows what the functions of the running stack log to CloudWatch, until Ctrl-C."""

import time

from local.ministack import MiniStack
from local.running import running

PAUSE_S = 0.5


def follow(aws: MiniStack, since: float) -> None:
    logs, seen = aws.client("logs"), set()
    while True:
        for group in logs.describe_log_groups()["logGroups"]:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=int(since * 1000)
            )
            for event in (event for page in pages for event in page["events"]):
                line = event["logStreamName"], event["timestamp"], event["message"]  # MiniStack gives no eventId
                if line not in seen:
                    seen.add(line)
                    print(event["message"].rstrip(), flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    try:
        follow(MiniStack(running()["aws_endpoint"]), since=time.time())
    except KeyboardInterrupt:
        pass
