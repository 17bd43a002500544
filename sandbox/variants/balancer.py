"""Common set-ups of load balancers: rules, listeners, matchers, sticky sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import (
    alias_zone,
    answering,
    api,
    both,
    change_records,
    listener,
    reconfigured,
    rule,
    target_group,
)

_OFFICE = "203.0.113.7/32"


@variant("host-rule-with-a-wildcard")
def host_rule_with_a_wildcard(sandbox: Sandbox) -> Iterator[None]:
    """The API's rule matches its host with a wildcard (stg-api*.glibiz.com)."""
    elbv2, before = sandbox.aws("elbv2"), rule(sandbox)
    name, _, zone = api(sandbox).host.partition(".")
    wild = [{"Field": "host-header", "HostHeaderConfig": {"Values": [f"{name}*.{zone}"]}}]
    elbv2.modify_rule(RuleArn=before["RuleArn"], Conditions=wild)
    yield
    elbv2.modify_rule(RuleArn=before["RuleArn"], Conditions=before["Conditions"])


@variant("host-served-by-the-default-rule")
def host_served_by_the_default_rule(sandbox: Sandbox) -> Iterator[None]:
    """The API has no rule of its own: the listener's default action forwards to it."""
    elbv2, before, own = sandbox.aws("elbv2"), listener(sandbox), rule(sandbox)
    elbv2.modify_listener(ListenerArn=before["ListenerArn"], DefaultActions=own["Actions"])
    elbv2.delete_rule(RuleArn=own["RuleArn"])
    yield
    elbv2.create_rule(
        ListenerArn=before["ListenerArn"],
        Priority=int(own["Priority"]),
        Conditions=[{k: v for k, v in c.items() if k != "Values"} for c in own["Conditions"]],
        Actions=own["Actions"],
    )
    elbv2.modify_listener(ListenerArn=before["ListenerArn"], DefaultActions=before["DefaultActions"])


@variant("rules-for-single-paths")
def rules_for_single_paths(sandbox: Sandbox) -> Iterator[None]:
    """The API's host has more rules: /docs is redirected, /legacy/* goes elsewhere, and some rules need a header
    or an office's address."""
    elbv2, on = sandbox.aws("elbv2"), listener(sandbox)["ListenerArn"]
    host: dict[str, Any] = {"Field": "host-header", "HostHeaderConfig": {"Values": [api(sandbox).host]}}
    vpc = elbv2.describe_target_groups(TargetGroupArns=[target_group(sandbox)])["TargetGroups"][0]["VpcId"]
    legacy = elbv2.create_target_group(Name="gli-legacy", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")
    group = legacy["TargetGroups"][0]["TargetGroupArn"]
    redirect = {"Protocol": "HTTPS", "Host": "docs.example.com", "StatusCode": "HTTP_302"}
    wanted: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (_path("/docs"), {"Type": "redirect", "RedirectConfig": redirect}),
        (_path("/legacy/*"), {"Type": "forward", "TargetGroupArn": group}),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Canary", "Values": ["1"]}},
            {"Type": "forward", "TargetGroupArn": group},
        ),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "User-Agent", "Values": ["*AhrefsBot*"]}},
            {"Type": "forward", "TargetGroupArn": group},
        ),
        (
            {"Field": "source-ip", "SourceIpConfig": {"Values": [_OFFICE]}},
            {"Type": "forward", "TargetGroupArn": group},
        ),
    ]
    made = [
        elbv2.create_rule(ListenerArn=on, Priority=n, Conditions=[host, condition], Actions=[action])
        for n, (condition, action) in enumerate(wanted, start=1)
    ]
    yield
    for each in made:
        elbv2.delete_rule(RuleArn=each["Rules"][0]["RuleArn"])
    elbv2.delete_target_group(TargetGroupArn=group)


def _path(pattern: str) -> dict[str, Any]:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": [pattern]}}


@variant("health-check-takes-any-2xx", tries=["alb-health-check-config"])
def health_check_takes_any_2xx(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer accepts any 2xx from the API's health path."""
    elbv2, group = sandbox.aws("elbv2"), target_group(sandbox)
    elbv2.modify_target_group(TargetGroupArn=group, Matcher={"HttpCode": "200-299"})
    yield
    elbv2.modify_target_group(TargetGroupArn=group, Matcher={"HttpCode": "200"})


@variant("listener-for-tests", tries=["alb-http-redirect", "alb-https-listener", "parity-edge"])
def listener_for_tests(sandbox: Sandbox) -> Iterator[None]:
    """Staging and production have another HTTPS listener, on 8443 for tests, open to the office only."""
    with ExitStack() as made:
        for environment in both(sandbox):
            made.enter_context(_another_listener(sandbox, required(environment.load_balancer).name))
        yield


@contextmanager
def _another_listener(sandbox: Sandbox, name: str) -> Iterator[None]:
    elbv2, ec2 = sandbox.aws("elbv2"), sandbox.aws("ec2")
    balancer = elbv2.describe_load_balancers(Names=[name])["LoadBalancers"][0]
    listeners = elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    https = next(x for x in listeners if x["Port"] == 443)
    made = elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=8443,
        SslPolicy=https["SslPolicy"],
        Certificates=https["Certificates"],
        DefaultActions=https["DefaultActions"],
    )
    office = {"IpProtocol": "tcp", "FromPort": 8443, "ToPort": 8443, "IpRanges": [{"CidrIp": _OFFICE}]}
    opening = {"GroupId": balancer["SecurityGroups"][0], "IpPermissions": [office]}
    ec2.authorize_security_group_ingress(**opening)
    try:
        yield
    finally:
        ec2.revoke_security_group_ingress(**opening)
        elbv2.delete_listener(ListenerArn=made["Listeners"][0]["ListenerArn"])


@variant("network-load-balancer-for-sockets", tries=["alb-active", "alb-idle-timeout", "dns-alias-target"])
def network_load_balancer_for_sockets(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server stands behind a network load balancer of its own, without security groups."""
    elbv2, secure, host = sandbox.aws("elbv2"), listener(sandbox), sandbox.environment.services["websocket"].host
    (shared,) = elbv2.describe_load_balancers(LoadBalancerArns=[secure["LoadBalancerArn"]])["LoadBalancers"]
    subnets, name = [z["SubnetId"] for z in shared["AvailabilityZones"]], f"{shared['LoadBalancerName']}-sockets"
    (made,) = elbv2.create_load_balancer(Name=name, Type="network", Subnets=subnets)["LoadBalancers"]
    protection = [{"Key": "deletion_protection.enabled", "Value": "true"}]
    elbv2.modify_load_balancer_attributes(LoadBalancerArn=made["LoadBalancerArn"], Attributes=protection)
    elbv2.create_listener(
        LoadBalancerArn=made["LoadBalancerArn"],
        Protocol="TLS",
        Port=443,
        SslPolicy=secure["SslPolicy"],
        Certificates=secure["Certificates"],
        DefaultActions=rule(sandbox, host)["Actions"],
    )
    zone = alias_zone(sandbox)
    records = sandbox.aws("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    before = [r for r in records if r["Name"] == f"{host}." and "AliasTarget" in r]
    own = [{**r, "AliasTarget": {**r["AliasTarget"], "DNSName": made["DNSName"]}} for r in before]
    change_records(sandbox, zone, [("UPSERT", record) for record in own])
    with reconfigured(sandbox, **{"services.websocket.load_balancer": {"name": name, "type": "network"}}):
        yield
    change_records(sandbox, zone, [("UPSERT", record) for record in before])
    protection[0]["Value"] = "false"
    elbv2.modify_load_balancer_attributes(LoadBalancerArn=made["LoadBalancerArn"], Attributes=protection)
    elbv2.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])


@variant("sni-certificate", tries=["cdn-aliases-and-cert"])
def sni_certificate(sandbox: Sandbox) -> Iterator[None]:
    """The listener also serves a certificate for a partner's host, to clients that ask for that host (SNI)."""
    elbv2, acm, on = sandbox.aws("elbv2"), sandbox.aws("acm"), listener(sandbox)["ListenerArn"]
    pems = sandbox.authority.issue(["partner.example.com"]).pems()
    arn = acm.import_certificate(
        Certificate=pems.certificate.encode(),
        PrivateKey=pems.private_key.encode(),
        CertificateChain=pems.chain.encode(),
    )["CertificateArn"]
    elbv2.add_listener_certificates(ListenerArn=on, Certificates=[{"CertificateArn": arn}])
    yield
    elbv2.remove_listener_certificates(ListenerArn=on, Certificates=[{"CertificateArn": arn}])
    acm.delete_certificate(CertificateArn=arn)


@variant("sticky-sessions", tries=["http-cookie-flags"])
def sticky_sessions(sandbox: Sandbox) -> Iterator[None]:
    """The target group is sticky: the load balancer adds its own cookies, without HttpOnly and SameSite."""
    elbv2, group = sandbox.aws("elbv2"), target_group(sandbox)
    on = [{"Key": "stickiness.enabled", "Value": "true"}, {"Key": "stickiness.type", "Value": "lb_cookie"}]
    elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=on)
    with answering(sandbox, "balancer-adds-its-cookies"):
        yield
    elbv2.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "stickiness.enabled", "Value": "false"}]
    )


@variant("balancer-answers-pings", tries=["sg-no-world-ports"])
def balancer_answers_pings(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer's group takes ICMP from the world, as AWS advises for path MTU discovery."""
    ec2, name = sandbox.aws("ec2"), required(sandbox.environment.load_balancer).name
    balancer = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]
    too_large = {"IpProtocol": "icmp", "FromPort": 3, "ToPort": 4, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    change = {"GroupId": balancer["SecurityGroups"][0], "IpPermissions": [too_large]}
    ec2.authorize_security_group_ingress(**change)
    yield
    ec2.revoke_security_group_ingress(**change)


@variant("limits-of-the-target-group", tries=["alb-spares-sick-tasks"])
def limits_of_the_target_group(sandbox: Sandbox) -> Iterator[None]:
    """The load balancer leaves X-Forwarded-For as it is; with less than half of its targets healthy, the API's group
    sends requests to all; it starts new targets slowly."""
    elbv2, group, on = sandbox.aws("elbv2"), target_group(sandbox), listener(sandbox)["LoadBalancerArn"]
    key, health = "routing.http.xff_header_processing.mode", "target_group_health.unhealthy_state_routing"
    half = f"{health}.minimum_healthy_targets.percentage"

    def put(mode: str, percentage: str, slow: str) -> None:
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=on, Attributes=[{"Key": key, "Value": mode}])
        changes = [{"Key": half, "Value": percentage}, {"Key": "slow_start.duration_seconds", "Value": slow}]
        elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=changes)

    put("preserve", "50", "30")
    yield
    put("append", "off", "0")
