"""The template's tables, for a store that they are made in without a deployment."""

from typing import Any

import yaml

from local.ministack import ROOT

# by the name of the variable that tells a function its table; they are called as in the template
TABLES = {"PLANS_TABLE": "Plans", "SUBSCRIPTIONS_TABLE": "Subscriptions", "USAGE_TABLE": "Usage"}
TABLES |= {"WEBHOOK_EVENTS_TABLE": "WebhookEvents"}
SHAPE = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


class Template(yaml.SafeLoader):
    """CloudFormation's short forms become {tag: value}."""


Template.add_multi_constructor(
    "!",
    lambda loader, tag, node: {
        tag: loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else node.value
    },
)


def template() -> dict[str, Any]:
    return yaml.load((ROOT / "template.yaml").read_text(), Template)


def make(db: Any, template: dict[str, Any]) -> None:
    """As far as the functions see; `db` is boto3's client."""
    for table in TABLES.values():
        wanted = template["Resources"][table]["Properties"]
        db.create_table(TableName=table, **{name: wanted[name] for name in SHAPE if name in wanted})
