"""What CloudWatch makes metrics of, in passing: a line of the log with these fields at its top level."""

NAMESPACE = "Tollgate"
ANOMALIES = "Anomalies"  # what somebody has to look at; the line's message says what it is


def embedded(name: str, value: float, stack: str, at: float) -> dict:
    """
    The fields that say a metric's value at an instant (docs: Embedded metric format); `stack`: two of one account
    share no metric.
    """
    metric = {"Namespace": NAMESPACE, "Dimensions": [["Stack"]], "Metrics": [{"Name": name, "Unit": "Count"}]}
    return {name: value, "Stack": stack, "_aws": {"Timestamp": int(at * 1000), "CloudWatchMetrics": [metric]}}
