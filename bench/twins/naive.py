"""
The functions that come to mind first: all is imported at the top, by boto3's resources, with the validation, the
logging, the tracing and the routing that the guides begin with. Here to be compared with.
"""

import json
import os
from typing import Any

import boto3
import stripe
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ClientError
from pydantic import BaseModel, Field

logger, metrics, tracer = Logger(), Metrics(namespace="Naive"), Tracer()
app = APIGatewayHttpResolver()
dynamodb: Any = boto3.resource("dynamodb")
sqs = boto3.client("sqs")
secrets = boto3.client("secretsmanager")
table = dynamodb.Table("Naive")
known = json.loads(secrets.get_secret_value(SecretId=os.environ["STRIPE_SECRET"])["SecretString"])


class Event(BaseModel):
    customer_id: str
    metric_id: str
    quantity: int = Field(ge=1)
    idempotency_key: str


class Batch(BaseModel):
    events: list[Event]


@app.post("/usage")
@tracer.capture_method
def usage() -> dict:
    batch = Batch.model_validate_json(app.current_event.body or "{}")
    answers = []
    for event in batch.events:
        key = {"pk": f"{event.customer_id}#{event.metric_id}"}
        try:
            item = key | {"sk": event.idempotency_key, "quantity": event.quantity}
            table.put_item(Item=item, ConditionExpression="attribute_not_exists(pk)")
            change, said = "ADD used :more", {":more": event.quantity}
            table.update_item(Key=key | {"sk": "total"}, UpdateExpression=change, ExpressionAttributeValues=said)
            answers.append({"status": "recorded"})
        except ClientError:
            answers.append({"status": "duplicate"})
    metrics.add_metric(name="Events", unit=MetricUnit.Count, value=len(answers))
    logger.info("counted", events=len(answers))
    return {"events": answers}


@app.get("/entitlements/<feature>")
@tracer.capture_method
def check(feature: str) -> dict:
    total = table.get_item(Key={"pk": f"ada#{feature}", "sk": "total"}, ConsistentRead=True).get("Item", {})
    bought = table.get_item(Key={"pk": "ada", "sk": "subscription"}, ConsistentRead=True).get("Item", {})
    logger.info("checked", feature=feature)
    return {"allowed": int(total.get("used", 0)) < int(bought.get("limit", 10**9))}


@app.post("/webhooks/stripe")
@tracer.capture_method
def webhook() -> dict:
    signature = app.current_event.headers["stripe-signature"]
    event = stripe.Webhook.construct_event(app.current_event.body or "", signature, known["webhook_secrets"][0])
    sqs.send_message(
        QueueUrl=os.environ["WEBHOOK_QUEUE"],
        MessageBody=app.current_event.body or "",
        MessageGroupId=event.data.object.id,
        MessageDeduplicationId=event.id,
    )
    metrics.add_metric(name="Webhooks", unit=MetricUnit.Count, value=1)
    logger.info("enqueued", event_id=event.id)
    return {}


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event: dict, context) -> dict:
    return app.resolve(event, context)
