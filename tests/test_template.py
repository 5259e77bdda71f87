"""The template and the code say the same, and nobody may do more than it does."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from billing import endpoints, holds, mails

GET, QUERY, PUT, UPDATE = (f"dynamodb:{name}" for name in ("GetItem", "Query", "PutItem", "UpdateItem"))
CHECK, BATCH = "dynamodb:ConditionCheckItem", "dynamodb:BatchGetItem"
SECRET = {"StripeSecret": {"secretsmanager:GetSecretValue"}}
PLANS = {"Plans": {GET, QUERY}}
CHANGE = PLANS | SECRET | {"Subscriptions": {GET, PUT, UPDATE}, "Usage": {UPDATE}}  # UPDATE: a quote, a card's trial
COMPARE = {"Subscriptions": {GET, BATCH, QUERY, "dynamodb:Scan", PUT, UPDATE}}
ONE_TIME = "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule/${Schedules}/*"
IDENTITIES = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*"
MAILS = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:configuration-set/${MailSet}"
CARRY_ON = {ONE_TIME: {"scheduler:CreateSchedule"}, "SchedulerRole": {"iam:PassRole"}}
METERED = PLANS | {"Subscriptions": {GET}}
COUNT = PLANS | {"Subscriptions": {GET, CHECK, UPDATE}, "Usage": {GET, BATCH, QUERY, PUT, UPDATE}}
EVENTS = {"Usage/index/by_time": {QUERY}}
MAY = {
    "list_plans": PLANS,
    "get_plan": PLANS,
    "put_plan": SECRET | {"Plans": {GET, QUERY, PUT}},
    "retire_plan": {"Plans": {GET, PUT}},
    "list_subscribers": SECRET | {"Plans": {GET}, "Subscriptions": {GET}},
    "find_plan": {"Plans": {GET}},
    "get_stripe_customer": {"Subscriptions": {GET}},
    "link_customer": CHANGE,
    "update_customer": CHANGE,
    "subscribe": CHANGE,
    "get_subscription": {"Plans": {GET}, "Subscriptions": {GET}},
    "quote_change": CHANGE,
    "change_plan": CHANGE,
    "change_seats": CHANGE,
    "change_discount": CHANGE,
    "withdraw_change": CHANGE,
    "cancel_subscription": CHANGE,
    "pause_subscription": CHANGE,
    "resume_subscription": CHANGE,
    "create_checkout": CHANGE,
    "create_portal": SECRET | {"Plans": {GET}, "Subscriptions": {GET, PUT}},
    "list_invoices": SECRET | {"Subscriptions": {GET, QUERY}},
    "upcoming_invoice": SECRET | METERED | {"Usage": {QUERY}},
    "record_usage": COUNT | {"Subscriptions": {GET, QUERY, CHECK, UPDATE}},
    "check_usage": METERED | {"Usage": {GET, QUERY}},
    "correct_usage": COUNT | EVENTS,
    "explain_usage": PLANS | {"Usage": {QUERY}} | EVENTS,
    "override_limits": PLANS | {"Subscriptions": {GET, PUT}, "Usage": {UPDATE}},
    "close_period": PLANS | SECRET | {"Subscriptions": {GET, QUERY, PUT, UPDATE}, "Usage": {QUERY, PUT, UPDATE}},
    "get_usage": METERED | {"Usage": {GET, QUERY}} | EVENTS,
    "get_entitlements": METERED | {"Usage": {GET, QUERY}},
    "check_entitlement": METERED | {"Usage": {GET, QUERY}},
    "watch_usage": PLANS | {"Subscriptions": {GET, PUT}, "Usage": {QUERY, PUT}},
    "list_events": {"Subscriptions": {QUERY}},
    "get_event_endpoint": {"Subscriptions": {GET}},
    "enable_event_endpoint": {"Subscriptions": {UPDATE}},
    "publish_events": {"Subscriptions": {QUERY, UPDATE}, "Bus": {"events:PutEvents"}},
    "deliver_event": {"Subscriptions": {GET, UPDATE}, "EventSecret": {"secretsmanager:GetSecretValue"}}
    | {"Deliveries": {"sqs:ChangeMessageVisibility"}, "DeadDeliveries": {"sqs:SendMessage"}},
    "set_timer": CARRY_ON,
    "take_dunning_step": CHANGE,
    "remind": PLANS | {"Subscriptions": {GET, PUT}, "Usage": {UPDATE}},
    "send_mail": PLANS
    | SECRET
    | {"Subscriptions": {GET, UPDATE}, IDENTITIES: {"ses:SendEmail"}, MAILS: {"ses:SendEmail"}},
    "note_bounce": PLANS | {"Subscriptions": {GET, PUT}},
    "list_webhook_events": {"WebhookEvents/index/by_outcome": {QUERY}},
    "replay_webhook": {"WebhookEvents": {GET, UPDATE}, "Webhooks": {"sqs:SendMessage"}},
    "start_reconciliation": CHANGE | COMPARE | CARRY_ON,
    "get_reconciliation": {"Subscriptions": {GET, QUERY}},
    "receive_webhook": SECRET | {"Webhooks": {"sqs:SendMessage"}},
    "process_webhook": CHANGE | CARRY_ON | {"WebhookEvents": {GET, PUT}, "Webhooks": {"sqs:ChangeMessageVisibility"}},
    "bury_webhook": {"WebhookEvents": {GET, PUT}},
    "sweep": CHANGE
    | CARRY_ON
    | {"Subscriptions": {GET, QUERY, PUT, UPDATE}, "Subscriptions/index/held": {QUERY}}
    | {"WebhookEvents": {BATCH, UPDATE}, "WebhookEvents/index/by_outcome": {QUERY}, "Webhooks": {"sqs:SendMessage"}},
    "reconcile": CHANGE | COMPARE | CARRY_ON,
}
PUBLIC = {"list_plans", "get_plan", "receive_webhook"}
ADMIN = {"put_plan", "retire_plan", "list_subscribers", "list_webhook_events", "replay_webhook"}
ADMIN |= {"start_reconciliation", "get_reconciliation"}
ADMIN |= {"correct_usage", "explain_usage", "override_limits"}
ADMIN |= {"get_event_endpoint", "enable_event_endpoint"}
ADMIN |= {"find_plan", "get_stripe_customer", "link_customer"}
SERVICE = {"record_usage", "check_usage"}


@pytest.fixture
def functions(template):
    resources = template["Resources"].items()
    return {name: each["Properties"] for name, each in resources if each["Type"].endswith("::Function")}


@pytest.mark.parametrize("action", MAY)
def test_an_action_may_do_what_it_does_and_no_more(functions, action):
    function = functions[action.title().replace("_", "")]
    may = {}
    for statement in function["Policies"][0]["Statement"]:
        assert statement["Effect"] == "Allow"
        for resource in statement["Resource"]:
            said = next(iter(resource.values())).removesuffix(".Arn")
            name = re.sub(r"^\$\{(\w+)\.Arn\}/", r"\1/", said)  # an index of a table
            may.setdefault(name, set()).update(statement["Action"])
    assert (function["Handler"], may) == (f"{action}.handler", MAY[action])


def test_no_policy_has_a_wildcard_and_none_is_a_template_of_sam(functions):
    for function in functions.values():
        (policy,) = function["Policies"]
        assert policy.keys() == {"Statement"}
        said = repr(policy).replace(ONE_TIME, "")  # schedules for one time have names that are made up
        assert "*" not in said.replace(IDENTITIES, "")  # whichever is verified; that says who may be the sender:


def test_mails_are_sent_from_the_deployers_address_alone(functions):
    (statement,) = [each for each in functions["SendMail"]["Policies"][0]["Statement"] if IDENTITIES in repr(each)]
    assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "MailFrom"}}}


def test_every_kind_of_mail_may_be_switched_off_and_all_of_them_together(template):
    asked = template["Parameters"]["Mails"]
    assert set(asked["Default"].split(",")) == mails.KINDS
    taken = ["", *mails.KINDS, ",".join(mails.KINDS), "invoice_ready,card_expiring"]
    assert [each for each in taken if not re.fullmatch(asked["AllowedPattern"], each)] == []
    assert not [
        each for each in ("trial", "invoice_ready, card_expiring") if re.fullmatch(asked["AllowedPattern"], each)
    ]
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["MAILS"] == {"If": ["Mailing", {"Ref": "Mails"}, ""]}
    assert template["Conditions"]["Mailing"] == {"Not": [{"Equals": [{"Ref": "MailFrom"}, ""]}]}


def test_what_a_mail_is_sent_of_reaches_its_sender_and_what_becomes_of_it_comes_back(template, functions):
    (told,) = functions["SendMail"]["Events"].values()
    assert told["Properties"] == {
        "EventBusName": {"Ref": "Bus"},
        "Pattern": {"source": ["tollgate"], "detail": {"mail": [{"exists": True}]}},
    }
    (bounced,) = functions["NoteBounce"]["Events"].values()
    assert bounced["Properties"]["Pattern"]["detail"] == {
        "mail": {"tags": {"ses:configuration-set": [{"Ref": "MailSet"}]}}
    }
    fates = template["Resources"]["MailFates"]["Properties"]
    assert fates["ConfigurationSetName"] == functions["SendMail"]["Environment"]["Variables"]["MAIL_SET"]
    assert fates["ConfigurationSetName"] == {"Ref": "MailSet"}


@pytest.mark.parametrize(
    "name, taken, refused",
    [
        ("MailFrom", ["", "billing@example.com"], ["Acme <billing@example.com>", "example.com", "a b@example.com"]),
        ("MailColour", ["#1f5f8b", "#ABCDEF"], ["blue", "#123", "", "#1f5f8b;background:url(x)"]),
        ("BillingPageUrl", ["", "https://app.example.com/billing"], ["javascript:alert(1)", "app.example.com"]),
    ],
)
def test_settings_of_mails_are_checked_before_they_are_deployed(template, name, taken, refused):
    pattern = template["Parameters"][name]["AllowedPattern"]
    assert [each for each in taken if not re.fullmatch(pattern, each)] == []
    assert [each for each in refused if re.fullmatch(pattern, each)] == []


def test_every_file_is_a_function(functions):
    assert {path.stem for path in Path("functions").glob("*.py")} == MAY.keys() and len(functions) == len(MAY)


def test_what_needs_which_token(template, routes, functions):
    assert template["Globals"]["HttpApi"]["Auth"]["DefaultAuthorizer"] == "Token"
    wanted = {}
    for function in functions.values():
        for event in function.get("Events", {}).values():
            if event["Type"] == "HttpApi":
                route = event["Properties"]
                action = function["Handler"].removesuffix(".handler")
                wanted[action, route["Path"]] = route.get("Auth", {})
    for (action, path), auth in wanted.items():
        if action in PUBLIC:
            assert auth == {"Authorizer": "NONE"}
        elif action in ADMIN:
            assert auth == {"AuthorizationScopes": ["billing/admin"]}
        elif action in SERVICE or path.startswith("/customers/{id}/"):
            assert auth == {"AuthorizationScopes": ["billing/service"]}
        else:
            assert auth == {} and (action, f"/customers/{{id}}{path}") in wanted


def test_a_hold_outlives_whoever_sends_it(template):
    assert template["Globals"]["Function"]["Timeout"] == holds.LIFE
    assert not [name for name, each in template["Resources"].items() if "Timeout" in each.get("Properties", {})]


def test_the_queue_is_fifo_and_gives_a_batch_its_time(template):
    queue, dead = (template["Resources"][name]["Properties"] for name in ("Webhooks", "DeadWebhooks"))
    assert queue["FifoQueue"] and dead["FifoQueue"] and queue["RedrivePolicy"]["maxReceiveCount"] == 100
    assert queue["VisibilityTimeout"] >= 6 * template["Globals"]["Function"]["Timeout"]
    assert (queue["DeduplicationScope"], queue["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")


def test_the_stream_brings_totals_alone_and_never_stands_still(template, functions):
    assert template["Resources"]["Usage"]["Properties"]["StreamSpecification"] == {
        "StreamViewType": "NEW_AND_OLD_IMAGES"
    }
    (source,) = functions["WatchUsage"]["Events"].values()
    said = source["Properties"]
    (only,) = said["FilterCriteria"]["Filters"]
    assert (source["Type"], said["Stream"], said["StartingPosition"]) == (
        "DynamoDB",
        {"GetAtt": "Usage.StreamArn"},
        "TRIM_HORIZON",
    )
    assert json.loads(only["Pattern"]) == {"dynamodb": {"Keys": {"pk": {"S": [{"prefix": "T#"}]}}}}
    assert said["FunctionResponseTypes"] == ["ReportBatchItemFailures"] and said["BisectBatchOnFunctionError"]
    assert 0 < said["MaximumRetryAttempts"] <= 20
    assert said["DestinationConfig"] == {"OnFailure": {"Type": "SQS", "Destination": {"GetAtt": "DeadAlerts.Arn"}}}


def test_whoever_publishes_is_woken_by_what_has_happened_alone_and_never_stands_still(template, functions):
    assert template["Resources"]["Subscriptions"]["Properties"]["StreamSpecification"] == {
        "StreamViewType": "NEW_IMAGE"
    }
    (source,) = functions["PublishEvents"]["Events"].values()
    said = source["Properties"]
    (only,) = said["FilterCriteria"]["Filters"]
    assert (source["Type"], said["Stream"], said["StartingPosition"]) == (
        "DynamoDB",
        {"GetAtt": "Subscriptions.StreamArn"},
        "TRIM_HORIZON",
    )
    keys = {"sk": {"S": [{"prefix": "event#"}]}}
    assert json.loads(only["Pattern"]) == {"eventName": ["INSERT"], "dynamodb": {"Keys": keys}}
    assert said["FunctionResponseTypes"] == ["ReportBatchItemFailures"] and said["BisectBatchOnFunctionError"]
    assert 0 < said["MaximumRetryAttempts"] <= 20
    assert said["DestinationConfig"] == {"OnFailure": {"Type": "SQS", "Destination": {"GetAtt": "DeadEvents.Arn"}}}


def test_a_table_has_no_more_than_two_who_read_its_stream(functions):
    """More than that are throttled (docs: DynamoDB Streams)."""
    events = [event for each in functions.values() for event in each.get("Events", {}).values()]
    read = Counter(str(event["Properties"]["Stream"]) for event in events if event["Type"] == "DynamoDB")
    assert read and max(read.values()) <= 2


def test_without_a_url_nothing_is_delivered_and_with_one_it_is_signed(template):
    parts = ("DeliverEvent", "ToProduct", "Deliveries", "DeadDeliveries", "BusMayDeliver", "BusMayBury")
    resources = {name: template["Resources"][name] for name in (*parts, "DeadDeliveriesAlarm")}
    assert all(each["Condition"] == "Delivers" for each in resources.values())
    assert template["Conditions"]["Delivers"] == {"Not": [{"Equals": [{"Ref": "EventUrl"}, ""]}]}
    (asked,) = template["Rules"]["Signed"]["Assertions"]
    assert asked["Assert"] == {"Not": [{"Equals": [{"Ref": "EventSecret"}, ""]}]}
    queue, dead = (resources[name]["Properties"] for name in ("Deliveries", "DeadDeliveries"))
    assert queue["MessageRetentionPeriod"] == dead["MessageRetentionPeriod"] == 14 * 86_400
    assert queue["VisibilityTimeout"] >= 6 * template["Globals"]["Function"]["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] > len(endpoints.AGAIN) + 1  # the function is first to give up
    for policy, name in (("BusMayDeliver", "Deliveries"), ("BusMayBury", "DeadDeliveries")):
        assert resources[policy]["Properties"]["Queues"] == [{"Ref": name}]
        (statement,) = resources[policy]["Properties"]["PolicyDocument"]["Statement"]
        assert statement["Resource"] == [{"GetAtt": f"{name}.Arn"}]
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": {"GetAtt": "ToProduct.Arn"}}}


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("", True),
        ("https://example.com/hook?x=1", True),
        ("http://127.0.0.1:8000/hook", True),
        ("http://example.com", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://127.0.0.1:80@example.com/", False),
        ("https://user:word@example.com/", False),
        ("ftp://example.com", False),
    ],
)
def test_events_leave_for_https_alone(template, url, fits):
    assert bool(re.fullmatch(template["Parameters"]["EventUrl"]["AllowedPattern"], url)) == fits


def test_no_table_can_be_lost_by_accident(template):
    tables = [each for each in template["Resources"].values() if each["Type"] == "AWS::DynamoDB::Table"]
    assert len(tables) == 4
    for table in tables:
        assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["Properties"]["DeletionProtectionEnabled"] == {"If": ["Live", True, False]}
        assert table["Properties"]["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


def test_no_secret_is_in_the_template_or_in_the_environment(template):
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["STRIPE_SECRET"] == {"Ref": "StripeSecret"}
    assert not [name for name in variables if "KEY" in name or "TOKEN" in name]


@pytest.fixture
def stage(template):
    """What SAM makes the API's stage of."""
    return template["Globals"]["HttpApi"]


def test_every_route_has_its_throttle_and_those_that_are_named_exist(stage, routes, template):
    def throttle(kind):
        return {f"Throttling{each}Limit": {"Ref": f"{kind}Throttle{each}"} for each in ("Rate", "Burst")}

    named = {"POST /webhooks/stripe": throttle("Webhook"), "POST /usage": throttle("Usage")}
    asked = [
        f"{method} {path}" for method, _, path, file in routes if file in ("get_entitlements", "check_entitlement")
    ]
    assert len(asked) == 4
    assert stage["RouteSettings"] == named | dict.fromkeys(asked, throttle("Usage"))
    assert stage["RouteSettings"].keys() <= {f"{method} {path}" for method, _, path, _ in routes}
    assert stage["DefaultRouteSettings"] == throttle("")
    for each in (stage["DefaultRouteSettings"], *stage["RouteSettings"].values()):
        rate, burst = (template["Parameters"][limit["Ref"]] for limit in each.values())
        assert rate["Type"] == burst["Type"] == "Number" and 1 <= rate["Default"] <= burst["Default"]


def test_a_line_of_the_access_log_is_json_and_says_neither_who_nor_what(stage, template):
    log = stage["AccessLogSettings"]
    wanted = "requestTimeEpoch requestId routeKey status responseLatency integrationStatus integrationLatency"
    said = set(re.findall(r"\$context\.([\w.]+)", log["Format"]))
    line = json.loads(re.sub(r"\$context\.[\w.]+", "1", log["Format"]))

    assert said == {*wanted.split(), "error.responseType"} and len(line) == len(said)
    assert "\n" not in log["Format"]
    group = template["Resources"][log["DestinationArn"]["GetAtt"].removesuffix(".Arn")]["Properties"]
    logs = template["Resources"]["Logs"]["Properties"]
    assert group["RetentionInDays"] == logs["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert group["LogGroupName"] == {"Sub": "/aws/vendedlogs/${AWS::StackName}/access"}


def test_without_a_topic_alarms_tell_nobody_and_nothing_else_is_asked_for(template):
    topic = template["Parameters"]["AlarmTopic"]
    assert topic["Default"] == "" and re.fullmatch(topic["AllowedPattern"], "")
    assert re.fullmatch(topic["AllowedPattern"], "arn:aws:sns:eu-west-1:1:alarms")
    assert not re.fullmatch(topic["AllowedPattern"], "alarms@example.com")
    assert template["Conditions"]["Told"] == {"Not": [{"Equals": [{"Ref": "AlarmTopic"}, ""]}]}


def test_a_function_knows_which_stack_its_metrics_are_of(template):
    assert template["Globals"]["Function"]["Environment"]["Variables"]["STACK"] == {"Ref": "AWS::StackName"}
