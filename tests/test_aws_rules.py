"""Rules that delete images, refuse a pull or drop alarms, as AWS documents that it applies them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_answers import ACCOUNT, REGION, Answer, answering, observed, staging

from gli.observe.aws.ecr_policies import kept_by, rule_about
from gli.observe.aws.iam_statements import refuses
from gli.observe.aws.load_balancer import GroupSettings
from gli.observe.aws.sns import topics
from gli.observe.engine.observation import Unobserved

ROLE = f"arn:aws:iam::{ACCOUNT}:role/execution"
TAG = "3f0c9a1"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:stg-gli-alerts"


def rule(priority: int, count: int, **selection: Any) -> dict[str, Any]:
    counted = {"countType": "imageCountMoreThan", "countNumber": count}
    return {"rulePriority": priority, "selection": {**counted, **selection}, "action": {"type": "expire"}}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ([rule(9, 1, tagStatus="any"), rule(1, 30, tagStatus="tagged", tagPrefixList=["3f"])], 30),
        ([rule(1, 1, tagStatus="untagged"), rule(2, 30, tagStatus="any")], 30),
        ([rule(1, 30, tagStatus="tagged", tagPatternList=["v*"]), rule(2, 1, tagStatus="any")], 1),
        ([rule(1, 30, tagStatus="tagged", tagPrefixList=["3f", "prod"]), rule(2, 1, tagStatus="any")], 1),
        ([rule(1, 1, tagStatus="tagged", tagPatternList=["review-*"])], None),
        ([rule(1, 90, tagStatus="any", storageClass="archive")], None),
        ([rule(1, 3, tagStatus="any", storageClass="standard") | {"action": {"type": "transition"}}], 3),
    ],
    ids=["by-priority", "untagged", "another-pattern", "all-prefixes", "others-alone", "archived", "archives"],
)
def test_the_first_rule_about_a_tag_decides(rules: list[dict[str, Any]], kept: int | None) -> None:
    found = rule_about(rules, TAG)
    assert (found["countNumber"] if found else None) == kept


@pytest.mark.parametrize("kind", ["sinceImagePushed", "sinceImagePulled"])
def test_a_rule_may_count_days(kind: str) -> None:
    counted = rule(1, 2, tagStatus="any", countType=kind, countUnit="days")["selection"]
    assert kept_by(counted, "gli-api").days == 2
    with pytest.raises(Unobserved, match="counts is 'sinceNextYear', a value that this suite does not know"):
        kept_by(counted | {"countType": "sinceNextYear"}, "gli-api")
    with pytest.raises(Unobserved, match="what the rule 1 does is 'hide', a value"):
        rule_about([rule(1, 2, tagStatus="any") | {"action": {"type": "hide"}}], TAG)


def deny(**more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": "ecr:BatchGetImage", **more}


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        (deny(Principal={"AWS": ROLE}), True),
        (deny(Principal="*"), True),
        (deny(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), True),
        (deny(NotPrincipal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"}), True),
        (deny(NotPrincipal={"AWS": ROLE}), False),
        (deny(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"}), False),
        (deny(Principal="*", Condition={"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}), False),
        ({**deny(Principal="*"), "Action": "ecr:BatchDeleteImage"}, False),
        ({**deny(Principal="*"), "Effect": "Allow"}, False),
    ],
)
def test_a_deny_of_the_repository_wins(statement: dict[str, Any], refused: bool) -> None:
    assert refuses(statement, "ecr:BatchGetImage", ROLE) is refused


@pytest.mark.parametrize(
    ("count", "percent", "targets", "trusts"),
    [(1, 0, 1, False), (1, 0, 4, False), (2, 0, 2, True), (3, 0, 4, False), (1, 50, 4, False), (1, 100, 4, True)],
)
def test_health_checks_decide_unless_all_targets_are_demanded(
    count: int, percent: int, targets: int, trusts: bool
) -> None:
    settings = GroupSettings(draining_s=30, least_healthy=count, least_healthy_percent=percent)
    assert settings.trusts_the_sick(targets) is trusts


@pytest.mark.parametrize(
    ("policy", "scope", "hears"),
    [
        ({}, None, True),
        ({"severity": ["critical"]}, None, False),
        ({"severity": [{"exists": False}]}, "MessageAttributes", True),
        ({"NewStateValue": ["ALARM"]}, "MessageBody", True),
        ({"NewStateValue": ["ALARM"]}, "MessageAttributes", False),
        ({"NewStateValue": [{"anything-but": ["ALARM"]}]}, "MessageBody", False),
        ({"NewStateValue": ["OK"], "AlarmName": ["x"]}, "MessageBody", False),
        ({"AlarmName": [{"prefix": "stg-"}], "Trigger": {"Namespace": ["AWS/ECS"]}}, "MessageBody", True),
        ({"detail-type": ["deploy"]}, "MessageBody", False),
    ],
)
def test_a_filter_policy_drops_or_passes_an_alarm(policy: dict[str, Any], scope: str | None, hears: bool) -> None:
    subscription = {"SubscriptionArn": f"{TOPIC}:1", "Protocol": "email", "TopicArn": TOPIC, "Owner": ACCOUNT}
    attributes = {"FilterPolicy": json.dumps(policy)} if policy else {}
    attributes |= {"FilterPolicyScope": scope} if scope else {}
    who = {"Service": "cloudwatch.amazonaws.com"}
    publish = {"Effect": "Allow", "Principal": who, "Action": "sns:Publish", "Resource": TOPIC}
    answers: dict[tuple[str, str], Answer] = {
        ("sts", "GetCallerIdentity"): {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify/x"},
        ("sns", "ListSubscriptionsByTopic"): {"Subscriptions": [subscription]},
        ("sns", "GetTopicAttributes"): {"Attributes": {"Policy": json.dumps({"Statement": [publish]})}},
        ("sns", "GetSubscriptionAttributes"): {"Attributes": attributes},
    }
    with answering(answers):
        (topic,) = observed(staging(), topics).values()
    assert (topic.confirmed, topic.deaf) == ((("email",), ()) if hears else ((), ("email",)))
