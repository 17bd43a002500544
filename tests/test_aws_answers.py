"""How probes read real AWS answers: each matches botocore's model and AWS's documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from aws_rig import ACCOUNT, REGION, Account, Answer, Refused, observing, staging

from gli.common.partitions import domain_of, partition_of
from gli.config.environments import Environment
from gli.observe.aws import acm, alarm_dimensions, cloudfront, cloudwatch, cloudwatch_alarms, logs, route53, sns, vpc
from gli.observe.data import secrets
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.probe import Probe
from tests_infra import test_edge as edge

NOW = datetime.now(UTC)
SERVICE = {
    "serviceName": "stg-gli-api",
    "status": "ACTIVE",
    "desiredCount": 1,
    "runningCount": 1,
    "pendingCount": 0,
    "taskDefinition": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/stg-gli-api:7",
    "clusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/gli-api-cluster",
    "loadBalancers": [],
    "deployments": [
        {
            "id": "ecs-svc/1",
            "status": "PRIMARY",
            "taskDefinition": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/stg-gli-api:7",
            "desiredCount": 1,
            "runningCount": 1,
            "pendingCount": 0,
            "failedTasks": 0,
            "rolloutState": "COMPLETED",
            "createdAt": NOW - timedelta(hours=5),
            "updatedAt": NOW - timedelta(hours=5),
        }
    ],
}


def services(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"services": [SERVICE | {"serviceName": name} for name in parameters["services"]], "failures": []}


def see(
    probe: Probe[Any], target: Any, answers: Mapping[str, Answer], monkeypatch: pytest.MonkeyPatch, **overlay: Any
) -> Any:
    with observing(Account(answers), staging(**overlay), monkeypatch) as observatory:
        return observatory.wait(probe, target)


def api(environment: Environment | None = None) -> Any:
    return (environment or staging()).services["api"]


def user() -> Any:
    return staging().frontends["user"]


# logs

GROUP = "/gli/api-server/staging"
GROUPS: Answer = lambda p: {"logGroups": [{"logGroupName": p["logGroupNamePrefix"], "retentionInDays": 30}]}  # noqa: E731
ECS: dict[str, Answer] = {"ecs.DescribeServices": services, "logs.DescribeLogGroups": GROUPS}


def ms(age: timedelta) -> int:
    return int((datetime.now(UTC) - age).timestamp() * 1000)


def pages(*events: list[str], age: timedelta = timedelta(minutes=3)) -> Answer:
    """FilterLogEvents in pages, some of them empty."""

    def answer(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        n = int(parameters.get("nextToken", "0"))
        page = [{"timestamp": ms(age), "message": text} for text in events[n]]
        return {"events": page, **({"nextToken": str(n + 1)} if n + 1 < len(events) else {})}

    return answer


def late(_: Any) -> Mapping[str, Any]:
    """A stream whose last line is 50 minutes old when it is asked for."""
    return {"logStreams": [{"logStreamName": "task/1", "lastEventTimestamp": ms(timedelta(minutes=50))}]}


def test_an_event_behind_empty_pages_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pages([], [], [], [], ["INFO started"])
    tail = see(
        logs.log_tail, api(), ECS | {"logs.DescribeLogStreams": late, "logs.FilterLogEvents": found}, monkeypatch
    )
    assert tail.age_s == pytest.approx(180, abs=120)


def test_an_unfinished_search_for_an_event_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ECS | {"logs.DescribeLogStreams": late, "logs.FilterLogEvents": pages(*[[]] * 99)}
    with pytest.raises(Unobserved, match="the search stopped after 15 pages"):
        see(logs.log_tail, api(), answers, monkeypatch)


def test_errors_behind_empty_pages_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ECS | {"logs.FilterLogEvents": pages([], [], [], [], ["ERROR broken"] * 9)}
    errors = see(logs.log_errors, api(), answers, monkeypatch)
    assert (errors.lines, errors.complete) == (9, True)


def test_an_unfinished_search_for_errors_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = see(logs.log_errors, api(), ECS | {"logs.FilterLogEvents": pages(*[[]] * 99)}, monkeypatch)
    assert (errors.lines, errors.complete) == (0, False)


def test_a_group_that_cannot_be_searched_is_judged_by_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    group = {"logGroups": [{"logGroupName": GROUP, "logGroupClass": "INFREQUENT_ACCESS"}]}

    def no(_: Any) -> Mapping[str, Any]:
        raise Refused("InvalidOperationException", "not supported for this log class")

    answers = ECS | {
        "logs.DescribeLogGroups": group,
        "logs.DescribeLogStreams": late,
        "logs.FilterLogEvents": no,
    }
    tail = see(logs.log_tail, api(), answers, monkeypatch)
    assert tail.age_s <= tail.fresh_s
    with pytest.raises(Unobserved, match="is of the class INFREQUENT_ACCESS"):
        see(logs.log_errors, api(), answers, monkeypatch)


def test_log_groups_need_no_common_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = ("/ecs/api", "web", "_audit")
    found = see(cloudwatch_alarms.log_groups, None, ECS, monkeypatch, logs={"groups": groups})
    assert all(found[name].exists for name in groups)


# alarms

ALARM = {"StateValue": "OK", "ActionsEnabled": True, "AlarmActions": [], "Period": 60, "EvaluationPeriods": 3}


def alarm(name: str, metric: str = "CPUUtilization", **dimensions: str) -> dict[str, Any]:
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    fires = {"ComparisonOperator": "GreaterThanThreshold", "Threshold": 80.0}
    return ALARM | {"AlarmName": name, "MetricName": metric, "Namespace": "AWS/X", "Dimensions": named, **fires}


NOTHING: dict[str, Answer] = {
    "elbv2.DescribeLoadBalancers": {"LoadBalancers": []},
    "elbv2.DescribeTargetGroups": {"TargetGroups": []},
    "ecs.DescribeClusters": lambda p: {
        "clusters": [{"clusterName": c.rpartition("/")[2], "status": "ACTIVE"} for c in p["clusters"]]
    },
    "ecs.DescribeServices": services,
    "rds.DescribeDBInstances": {"DBInstances": []},
    "elasticache.DescribeReplicationGroups": {"ReplicationGroups": []},
    "elasticache.DescribeCacheClusters": {"CacheClusters": []},
}


@pytest.mark.parametrize(
    "dimensions",
    [
        {"Broker": "stg-gli-mq", "VirtualHost": "/", "Queue": "gli.events"},
        {"AvailabilityZone": "ap-northeast-2a"},
        {"NatGatewayId": "nat-1"},
        {"WebACL": "gli", "Region": REGION, "Rule": "ALL"},
        {"ClusterName": "other", "ServiceName": "stg-gli-worker"},
        {"DBInstanceIdentifier": "stg-gli-database-replica"},
        {"CacheClusterId": "stg-gli-redis-001", "CacheNodeId": "0001"},
        {"LoadBalancer": "app/stg-gli-internal/1"},
        {"TargetGroup": "targetgroup/stg-gli-worker/2"},
    ],
)
def test_an_alarm_may_watch_a_live_resource_outside_the_file(
    monkeypatch: pytest.MonkeyPatch, dimensions: dict[str, str]
) -> None:
    elb = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}"
    answers = NOTHING | {
        "cloudwatch.DescribeAlarms": {"MetricAlarms": [alarm("stg-gli-x", **dimensions)], "CompositeAlarms": []},
        "elbv2.DescribeLoadBalancers": lambda p: {
            "LoadBalancers": []
            if "Names" in p
            else [{"LoadBalancerArn": f"{elb}:loadbalancer/app/stg-gli-internal/1", "LoadBalancerName": "x"}]
        },
        "elbv2.DescribeTargetGroups": {"TargetGroups": [{"TargetGroupArn": f"{elb}:targetgroup/stg-gli-worker/2"}]},
        "rds.DescribeDBInstances": {"DBInstances": [{"DBInstanceIdentifier": "stg-gli-database-replica"}]},
        "elasticache.DescribeCacheClusters": {"CacheClusters": [{"CacheClusterId": "stg-gli-redis-001"}]},
    }
    own = {"load_balancer": None, "database": None, "cache": None}
    assert see(alarm_dimensions.dead_dimensions, None, answers, monkeypatch, **own) == ()


@pytest.mark.parametrize(
    "dimensions",
    [
        {"TargetGroup": "targetgroup/gone/1", "LoadBalancer": "app/gone/1"},
        {"DBInstanceIdentifier": "gone"},
        {"CacheClusterId": "gone"},
        {"ClusterName": "gli-api-cluster", "ServiceName": "gone"},
    ],
)
def test_an_alarm_on_a_deleted_resource_is_reported(
    monkeypatch: pytest.MonkeyPatch, dimensions: dict[str, str]
) -> None:
    def some(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"services": [SERVICE | {"serviceName": n} for n in parameters["services"] if n != "gone"]}

    answers = NOTHING | {
        "cloudwatch.DescribeAlarms": {"MetricAlarms": [alarm("stg-gli-x", **dimensions)], "CompositeAlarms": []},
        "ecs.DescribeServices": some,
    }
    own = {"load_balancer": None, "database": None, "cache": None}
    gone = see(alarm_dimensions.dead_dimensions, None, answers, monkeypatch, **own)
    assert set(gone) == {value for value in dimensions.values() if "gone" in value}


def test_alarms_of_every_kind_are_read() -> None:
    insights = {"Id": "q", "Expression": 'SELECT MAX(CPUUtilization) FROM SCHEMA("AWS/ECS", ClusterName)'}
    stat = {"Metric": {"MetricName": "RequestCount", "Namespace": "AWS/X"}, "Period": 60, "Stat": "Sum"}
    maths = [{"Id": "e", "Expression": "m / 2"}, {"Id": "m", "MetricStat": stat}]
    scaling = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:1:resource/ecs/service/a/b:policyName/up"
    read = cloudwatch_alarms.read_alarm
    assert read(ALARM | {"AlarmName": "i", "Metrics": [insights]}).metrics == ("CPUUtilization",)
    assert not read(ALARM | {"AlarmName": "i", "Metrics": [insights]}).composite
    assert read(ALARM | {"AlarmName": "m", "Metrics": maths}).metrics == ("RequestCount",)
    assert read(alarm("s") | {"AlarmActions": [scaling]}).scales
    rule = 'ALARM("a") OR (ALARM(b) AND NOT OK(c))'
    assert read(ALARM | {"AlarmName": "c", "AlarmRule": rule}).watched == ("a", "b", "c")
    with pytest.raises(Unobserved, match="is 'MAYBE', a value that this suite does not know"):
        read(alarm("s") | {"StateValue": "MAYBE"})


def test_a_removed_subscription_needs_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:stg-gli-alerts"
    answer = {
        "Subscriptions": [
            {"SubscriptionArn": f"{topic}:1", "Protocol": "email", "Owner": ACCOUNT},
            {"SubscriptionArn": "Deleted", "Protocol": "https", "Owner": ACCOUNT},
            {"SubscriptionArn": "PendingConfirmation", "Protocol": "sms", "Owner": ACCOUNT},
        ]
    }
    found = see(
        sns.topics,
        None,
        {
            "sns.ListSubscriptionsByTopic": answer,
            "sns.GetTopicAttributes": {"Attributes": {"Policy": "{}"}},
            "sns.GetSubscriptionAttributes": {"Attributes": {}},
        },
        monkeypatch,
    )
    assert (found["stg-gli-alerts"].confirmed, found["stg-gli-alerts"].pending) == (("email",), 1)


# metrics


def test_a_metric_with_a_missing_part_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def partial(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = parameters["MetricDataQueries"]
        kept = {"Timestamps": [datetime.now(UTC) - timedelta(minutes=4)], "Values": [1.0], "StatusCode": "PartialData"}
        return {"MetricDataResults": [{"Id": q["Id"], **kept} for q in asked]}

    answers = NOTHING | {"cloudwatch.GetMetricData": partial}
    own = {"load_balancer": None, "database": None, "cache": None}
    seen = see(cloudwatch.metrics, None, answers, monkeypatch, **own)
    with pytest.raises(Unobserved, match="PartialData"):
        seen.points("api", "CPUUtilization")


# edge


def summary(n: int, alias: str, **more: Any) -> dict[str, Any]:
    """A distribution as ListDistributions shows it."""
    empty = {"Quantity": 0}
    behavior = {"TargetOriginId": "b", "ViewerProtocolPolicy": "redirect-to-https", "Compress": True}
    return {
        "Id": f"E{n}",
        "ARN": f"arn:aws:cloudfront::{ACCOUNT}:distribution/E{n}",
        "Status": "Deployed",
        "LastModifiedTime": NOW,
        "DomainName": f"d{n}.cloudfront.net",
        "Aliases": {"Quantity": 1, "Items": [alias]},
        "Origins": {"Quantity": 1, "Items": [{"Id": "b", "DomainName": "b.s3.amazonaws.com"}]},
        "DefaultCacheBehavior": behavior,
        "CacheBehaviors": empty,
        "CustomErrorResponses": empty,
        "Comment": "",
        "PriceClass": "PriceClass_All",
        "Enabled": True,
        "ViewerCertificate": {"CloudFrontDefaultCertificate": True},
        "Restrictions": {"GeoRestriction": {"RestrictionType": "none", "Quantity": 0}},
        "WebACLId": "",
        "HttpVersion": "http2",
        "IsIPV6Enabled": True,
        "Staging": False,
    } | more


CUSTOM = {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "https-only"}


def listed(*summaries: dict[str, Any]) -> dict[str, Answer]:
    """Let CloudFront list and describe these distributions."""
    named = {s["Id"]: s for s in summaries}
    common = (
        *("Origins", "DefaultCacheBehavior", "CacheBehaviors", "CustomErrorResponses", "Restrictions", "WebACLId"),
        *("Comment", "Enabled", "Aliases", "ViewerCertificate", "Staging", "OriginGroups"),
    )

    def describe(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        one = named[parameters["Id"]]
        config = {key: one[key] for key in common if key in one} | {
            "CallerReference": "x",
            "DefaultRootObject": "index.html",
        }
        same = {key: one[key] for key in ("Id", "ARN", "Status", "LastModifiedTime", "DomainName")}
        return {"Distribution": same | {"InProgressInvalidationBatches": 0, "DistributionConfig": config}}

    page = {"Marker": "", "MaxItems": 100, "IsTruncated": False, "Quantity": len(summaries), "Items": [*summaries]}
    return {"cloudfront.ListDistributions": {"DistributionList": page}, "cloudfront.GetDistribution": describe}


def test_only_distributions_that_serve_a_host_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [summary(n, f"shop-{n}.example.com") for n in range(60)]
    account = Account(listed(*many, summary(60, "stg.glibiz.com"), summary(61, "stg-admin.glibiz.com")))
    with observing(account, staging(), monkeypatch) as observatory:
        assert observatory.wait(cloudfront.distribution, user()).id == "E60"
    assert account.calls["cloudfront.GetDistribution"] == 2


def test_each_page_of_one_distribution_has_the_origin_of_its_own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = {"pages": "", "partner": "/now"}
    origins = [
        {"Id": n, "DomainName": f"{n}.s3.{REGION}.amazonaws.com", "OriginAccessControlId": "A", "OriginPath": path}
        for n, path in buckets.items()
    ]
    behavior = {"ViewerProtocolPolicy": "redirect-to-https", "Compress": True}
    api = {"Id": "api", "DomainName": "lb.example.com", "CustomOriginConfig": CUSTOM}
    cached = {"TargetOriginId": "api", "PathPattern": "/api/*", "MinTTL": 60, **behavior}
    others = [{"TargetOriginId": "partner", "PathPattern": "/partner/*", **behavior}, cached]
    one = summary(
        *(1, "stg.glibiz.com"),
        Origins={"Quantity": 3, "Items": [*origins, api]},
        DefaultCacheBehavior={"TargetOriginId": "pages", **behavior},
        CacheBehaviors={"Quantity": 2, "Items": others},
    )
    page = user().model_copy(update={"bucket": "pages"})
    partner = page.model_copy(
        update={"bucket": "partner", "url": f"{page.url}/partner/", "origin_path": "/now/partner"}
    )
    seen = see(cloudfront.distribution, page, listed(one), monkeypatch)
    for frontend in (page, partner):
        edge.test_cdn_origin_oac(seen, staging(), frontend)
    with pytest.raises(AssertionError, match="pages"):
        edge.test_cdn_origin_oac(seen, staging(), page.model_copy(update={"bucket": "partner"}))
    with pytest.raises(AssertionError, match="the folder /now"):
        edge.test_cdn_origin_oac(seen, staging(), partner.model_copy(update={"origin_path": "/old/partner"}))
    assert (seen.taking("/api/login").path, seen.taking("/login").path) == ("/api/*", "*")


def test_a_wildcard_alias_serves_other_hosts_and_a_staging_distribution_serves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wildcard, exact = summary(1, "*.glibiz.com"), summary(2, "stg.glibiz.com")
    staged = summary(3, "stg.glibiz.com", Staging=True)
    assert see(cloudfront.distribution, user(), listed(wildcard), monkeypatch).id == "E1"
    assert see(cloudfront.distribution, user(), listed(wildcard, exact), monkeypatch).id == "E2"
    with pytest.raises(Unobserved, match=r"has the alias stg\.glibiz\.com"):
        see(cloudfront.distribution, user(), listed(staged), monkeypatch)


def hosted(n: int, *, private: bool) -> dict[str, Any]:
    return {
        "Id": f"/hostedzone/Z{n}",
        "Name": "glibiz.com.",
        "CallerReference": "x",
        "Config": {"PrivateZone": private},
    }


def zone_answers(*zones: dict[str, Any], records: list[dict[str, Any]] | None = None) -> dict[str, Answer]:
    def sets(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        own = [{"Name": f"{parameters['HostedZoneId'][-2:].lower()}.glibiz.com.", "Type": "A", "ResourceRecords": []}]
        return {"ResourceRecordSets": own + (records or []), "IsTruncated": False, "MaxItems": "300"}

    return {
        "route53.ListHostedZonesByName": {"HostedZones": [*zones], "IsTruncated": False, "MaxItems": "100"},
        "route53.ListResourceRecordSets": sets,
    }


def alias(name: str, target: str) -> dict[str, Any]:
    points = {"HostedZoneId": "Z", "DNSName": target, "EvaluateTargetHealth": False}
    return {"Name": name, "Type": "A", "AliasTarget": points}


def test_the_public_zone_is_used_beside_a_private_one_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [alias("stg.glibiz.com.", "d1.cloudfront.net."), alias("\\052.dev.glibiz.com.", "stg.glibiz.com.")]
    inside = zone_answers(records=[alias("stg.glibiz.com.", "internal.example.com.")])
    answers = zone_answers(hosted(1, private=True), hosted(2, private=False), records=records)
    sets = "route53.ListResourceRecordSets"
    of_each: dict[str, Any] = {"Z1": inside[sets], "Z2": answers[sets]}
    told = answers | {sets: lambda asked: of_each[asked["HostedZoneId"].rpartition("/")[2]](asked)}
    zone = see(route53.zone, None, told, monkeypatch)
    assert zone.targets("stg.glibiz.com") == ("d1.cloudfront.net",)
    assert zone.targets("a.dev.glibiz.com") == ("d1.cloudfront.net",), "a wildcard, and an alias of an alias"
    assert zone.targets("nobody.glibiz.com") == ()


@pytest.mark.parametrize(
    ("places", "named"),
    [
        ([{"GeoLocation": {"CountryCode": "KR"}}], True),
        ([{"GeoLocation": {"CountryCode": "KR"}}, {"GeoLocation": {"CountryCode": "*"}}], False),
        ([{"GeoLocation": {"ContinentCode": "AS"}}], True),
        ([{"CidrRoutingConfig": {"CollectionId": "c", "LocationName": "seoul"}}], True),
        ([{"CidrRoutingConfig": {"CollectionId": "c", "LocationName": "*"}}], False),
        ([{"GeoLocation": {"CountryCode": "*"}}, {"Type": "AAAA", "GeoLocation": {"CountryCode": "KR"}}], True),
        ([{"Region": "ap-northeast-2"}], False),
    ],
)
def test_a_name_without_records_for_users_everywhere_is_told(
    places: list[dict[str, Any]], named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        {**alias("stg.glibiz.com.", "d1.cloudfront.net."), "SetIdentifier": str(n), **place}
        for n, place in enumerate(places)
    ]
    zone = see(route53.zone, None, zone_answers(hosted(1, private=False), records=records), monkeypatch)
    assert zone.somewhere == (("stg.glibiz.com",) if named else ())


def test_two_public_zones_of_one_name_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unobserved, match=r"several hosted zones .*Z1 and .*Z2"):
        see(route53.zone, None, zone_answers(hosted(1, private=False), hosted(2, private=False)), monkeypatch)


def test_a_zone_of_another_account_names_the_role_that_can_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unobserved, match=r"name a role that may look there as dns in \[stg\.aws\.roles\]"):
        see(route53.zone, None, zone_answers(), monkeypatch)


def test_a_certificate_served_by_sni_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    arns = [f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/{n}" for n in "ab"]
    elb = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}"
    lb = {
        "LoadBalancerArn": f"{elb}:loadbalancer/app/stg-gli-alb/1",
        "LoadBalancerName": "stg-gli-alb",
        "DNSName": "alb.elb.amazonaws.com",
        "State": {"Code": "active"},
        "AvailabilityZones": [{"ZoneName": "ap-northeast-2a"}],
        "SecurityGroups": [],
        "Type": "application",
    }
    listener = {
        "ListenerArn": f"{elb}:listener/app/stg-gli-alb/1/2",
        "LoadBalancerArn": lb["LoadBalancerArn"],
        "Port": 443,
        "Protocol": "HTTPS",
        "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "Certificates": [{"CertificateArn": arns[0]}],
        "DefaultActions": [],
    }

    def described(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        arn = parameters["CertificateArn"]
        ends = NOW + timedelta(days=300 if arn == arns[0] else 2)
        return {
            "Certificate": {
                "CertificateArn": arn,
                "DomainName": "x",
                "Status": "ISSUED",
                "NotAfter": ends,
                "Type": "IMPORTED",
            }
        }

    answers: dict[str, Answer] = {
        "elbv2.DescribeLoadBalancers": {"LoadBalancers": [lb]},
        "elbv2.DescribeListeners": {"Listeners": [listener]},
        "elbv2.DescribeRules": {"Rules": []},
        "elbv2.DescribeListenerCertificates": {
            "Certificates": [{"CertificateArn": arn, "IsDefault": arn == arns[0]} for arn in arns]
        },
        "acm.DescribeCertificate": described,
        **listed(),
    }
    found = see(acm.certificates, None, answers, monkeypatch)
    assert [round(c.days_left) for c in found] == [300, 2]
    passing = {**listener, "Protocol": "TCP", "Certificates": []}
    answers["elbv2.DescribeListeners"] = {"Listeners": [passing]}
    with pytest.raises(Unobserved, match="passes TLS through") as raised:
        see(acm.certificates, None, answers, monkeypatch, frontends={"absent": "none"})
    assert raised.value.unknown.cause == "not-applicable"
    answers["elbv2.DescribeListeners"] = {"Listeners": [passing, {**passing, "Protocol": "TLS"}]}
    assert see(acm.certificates, None, answers, monkeypatch, frontends={"absent": "none"}) == ()


# secrets


def test_secrets_are_requested_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"stg/gli/part-{n}" for n in range(25)]

    def listing(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"SecretList": [secret(name) for f in parameters["Filters"] for name in f["Values"]]}

    monkeypatch.setattr(Environment, "secrets", property(lambda self: tuple(names)))
    found = see(secrets.secret_states, None, {"secretsmanager.ListSecrets": listing}, monkeypatch)
    assert all(found[name].usable for name in names)


def secret(name: str, **more: Any) -> dict[str, Any]:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCdEf"
    return {"Name": name, "ARN": arn, "SecretVersionsToStages": {"v": ["AWSCURRENT"]}, **more}


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ("Access to KMS is not allowed", "kms:Decrypt"),
        ("User: x is not authorized to perform: kms:Decrypt on resource: key because no ...", "kms:Decrypt"),
        ("User: x is not authorized to perform: secretsmanager:GetSecretValue on y", "secretsmanager:GetSecretValue"),
    ],
)
def test_a_denial_names_the_missing_action(monkeypatch: pytest.MonkeyPatch, message: str, action: str) -> None:
    def refuse(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        errors = [
            {"SecretId": id_, "ErrorCode": "AccessDeniedException", "Message": message}
            for id_ in parameters["SecretIdList"]
        ]
        return {"SecretValues": [], "Errors": errors}

    with pytest.raises(Unobserved) as raised:
        see(secrets.secret, "stg/gli/database", {"secretsmanager.BatchGetSecretValue": refuse}, monkeypatch)
    assert raised.value.unknown.action == action
    assert raised.value.unknown.message.startswith(f"{action} is denied")


def network(*endpoints: dict[str, Any], routes: Sequence[dict[str, Any]] = ()) -> dict[str, Answer]:
    """A VPC with one subnet, its database, and these endpoints and routes."""
    instance = {
        "DBInstanceIdentifier": "stg-gli-database",
        "DBInstanceStatus": "available",
        "DBInstanceClass": "db.m7g.large",
        "Engine": "postgres",
        "EngineVersion": "18.1",
        "DBSubnetGroup": {"VpcId": "vpc-1", "Subnets": [{"SubnetIdentifier": "subnet-1"}]},
        "VpcSecurityGroups": [],
        "DBParameterGroups": [],
        "ReadReplicaDBInstanceIdentifiers": [],
        "PubliclyAccessible": False,
        "StorageEncrypted": True,
        "MultiAZ": False,
        "BackupRetentionPeriod": 7,
    }
    subnet = {"VpcId": "vpc-1", "SubnetId": "subnet-1", "CidrBlock": "10.0.0.0/24", "AvailableIpAddressCount": 200}
    acl = {"VpcId": "vpc-1", "NetworkAclId": "acl-1", "Associations": [{"SubnetId": "subnet-1"}], "Entries": []}
    local = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}
    table = {"VpcId": "vpc-1", "RouteTableId": "rtb-1", "Associations": [{"Main": True}], "Routes": [local, *routes]}
    return {
        "rds.DescribeDBInstances": {"DBInstances": [instance]},
        "rds.DescribeDBClusters": {"DBClusters": []},
        "ec2.DescribeSecurityGroups": {"SecurityGroups": []},
        "ec2.DescribeSubnets": {"Subnets": [subnet]},
        "ec2.DescribeRouteTables": {"RouteTables": [table]},
        "ec2.DescribeNetworkAcls": {"NetworkAcls": [acl]},
        "ec2.DescribeNatGateways": {"NatGateways": []},
        "ec2.DescribeVpcEndpoints": {"VpcEndpoints": [*endpoints]},
    }


def endpoint(n: int, kind: str, service: str | None) -> dict[str, Any]:
    named = {"ServiceName": service} if service else {}
    interface = {"PrivateDnsEnabled": True, "SubnetIds": ["subnet-1"], "Groups": [], "PolicyDocument": "{}"}
    more = interface if kind == "Interface" else {"PolicyDocument": "{}"} if kind == "Gateway" else {}
    own = {"VpcId": "vpc-1", "VpcEndpointId": f"vpce-{n}", "VpcEndpointType": kind, "State": "Available"}
    return own | named | more


def test_endpoints_of_other_resources_have_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        endpoint(1, "Interface", f"com.amazonaws.{REGION}.ecr.api"),
        endpoint(2, "Gateway", f"com.amazonaws.{REGION}.s3"),
        endpoint(3, "Interface", "cn.com.amazonaws.cn-north-1.ecr.dkr"),
        endpoint(4, "Interface", f"com.amazonaws.vpce.{REGION}.vpce-svc-0a1b2c3d"),
        endpoint(5, "Resource", None),
        endpoint(6, "ServiceNetwork", None),
        endpoint(7, "GatewayLoadBalancer", f"com.amazonaws.vpce.{REGION}.vpce-svc-0a1b2c3e"),
    ]
    seen = see(vpc.vpc, None, network(*found), monkeypatch).network.endpoints
    assert {e.service for e in seen.values()} >= {"ecr.api", "s3", "ecr.dkr"}
    assert not {"vpce-5", "vpce-6", "vpce-7"} & {*seen}


def test_an_endpoint_of_aws_without_a_service_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unobserved, match=r"without VpcEndpoints\.ServiceName"):
        see(vpc.vpc, None, network(endpoint(1, "Interface", None)), monkeypatch)


def test_a_route_to_something_new_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    ipv6 = {"DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": "eigw-1", "State": "active"}
    seen = see(vpc.vpc, None, network(routes=[ipv6]), monkeypatch)
    assert [r.target for r in seen.network.subnets["subnet-1"].routes] == ["local"]
    with pytest.raises(Unobserved, match=r"a route to 0\.0\.0\.0/0 has a target of a kind not known here"):
        see(vpc.vpc, None, network(routes=[{"DestinationCidrBlock": "0.0.0.0/0", "State": "active"}]), monkeypatch)


@pytest.mark.parametrize("kind", ["IMPORTED", "AMAZON_ISSUED"])
def test_a_certificate_of_amazon_names_its_validation_records(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/a"
    certificate = {"CertificateArn": arn, "DomainName": "x", "Status": "ISSUED", "NotAfter": NOW, "Type": kind}
    answers = listed(summary(1, "stg.glibiz.com", ViewerCertificate={"ACMCertificateArn": arn}))
    answers |= {"acm.DescribeCertificate": {"Certificate": certificate}}
    with pytest.raises(Unobserved, match="DomainValidationOptions") if kind == "AMAZON_ISSUED" else nullcontext():
        see(acm.certificates, None, answers, monkeypatch, load_balancer=None)


def test_more_zones_of_one_name_than_one_answer_holds_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    zones = [hosted(n, private=True) for n in range(100)]
    answers = zone_answers(*zones)
    page = answers["route53.ListHostedZonesByName"]
    assert isinstance(page, Mapping)
    with pytest.raises(Unobserved, match="more zones"):
        see(route53.zone, None, answers | {"route53.ListHostedZonesByName": page | {"IsTruncated": True}}, monkeypatch)


@pytest.mark.parametrize(
    ("metric", "compares", "threshold", "sleeps"),
    [
        ("CPUUtilization", "GreaterThanThreshold", 80, False),
        ("CPUUtilization", "GreaterThanThreshold", 100, True),
        ("CPUUtilization", "GreaterThanOrEqualToThreshold", 100, False),
        ("CPUUtilization", "LessThanThreshold", 20, True),
        ("FreeStorageSpace", "LessThanThreshold", 1e9, False),
        ("FreeStorageSpace", "GreaterThanThreshold", 1e9, True),
        ("RequestCount", "LessThanThreshold", 1, False),
        ("RequestCount", "LessThanThreshold", 0, True),
        ("HTTPCode_Target_5XX_Count", "GreaterThanThreshold", 1e6, False),
    ],
)
def test_an_alarm_that_never_fires_when_its_metric_gets_worse(
    metric: str, compares: str, threshold: float, sleeps: bool
) -> None:
    fires = {"Namespace": "AWS/ECS", "ComparisonOperator": compares, "Threshold": threshold}
    assert cloudwatch_alarms.read_alarm(alarm("a", metric) | fires).sleeps is sleeps


def test_each_region_has_the_partition_and_the_domain_that_botocore_knows() -> None:
    session = botocore.session.get_session()
    names = session.get_available_partitions()
    regions = [(name, region) for name in names for region in session.get_available_regions("ec2", name)]
    assert len({name for name, _ in regions}) >= 3
    assert [region for name, region in regions if partition_of(region) != name] == []
    host = re.compile(r"https://ec2\.[\w-]+\.(.+)")
    told = {
        r: str(session.create_client("ec2", r, aws_access_key_id="x", aws_secret_access_key="x").meta.endpoint_url)
        for r in dict(regions).values()
    }
    assert {r: domain_of(r) for r in told} == {r: host.sub(r"\1", url) for r, url in told.items()}


def test_an_endpoint_policy_of_another_partition_is_read_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy that AWS's guide for ECR asks for, with the ARN of China's partition."""
    bucket = "arn:aws-cn:s3:::prod-cn-north-1-starport-layer-bucket/*"
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": bucket}
    gate = endpoint(1, "Gateway", "com.amazonaws.cn-north-1.s3") | {
        "PolicyDocument": json.dumps({"Statement": [allow]})
    }
    assert see(vpc.vpc, None, network(gate), monkeypatch).network.endpoints["vpce-1"].refuses == ()
