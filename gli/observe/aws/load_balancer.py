"""The load balancer: its state, its listeners and rules, and the health of what stands behind it.

Source of truth: elbv2 DescribeLoadBalancers, DescribeLoadBalancerAttributes, DescribeListeners, DescribeRules,
DescribeTargetGroups, DescribeTargetHealth.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gli.common.sentences import phrase
from gli.config.environments import LoadBalancer, Service
from gli.observe.aws.ecs_services import ecs_service, ecs_services
from gli.observe.engine.aws_session import AwsError, Part
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe


class Listener(Observation):
    """One listener of a load balancer."""

    arn: str = ""
    port: int
    protocol: str
    certificates: tuple[str, ...] = ()
    policy: str | None = None
    redirects_to: str | None = None
    """`HTTPS HTTP_301` where the default action redirects."""
    forwards: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(host, target groups) of each rule that matches a host."""


class Balancer(Observation):
    """A load balancer; `state` is `missing` where AWS knows none of that name."""

    name: str
    state: str
    arn: str | None = None
    dns_name: str | None = None
    zones: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()


class BalancerAttributes(Observation):
    """What a load balancer does to connections, and whether it can be deleted by mistake."""

    name: str
    idle_timeout_s: int
    deletion_protection: bool


class HealthCheck(Observation):
    """How the load balancer asks the targets of a group whether they are well."""

    group: str
    path: str | None
    codes: str | None
    interval_s: int
    threshold: int
    """So many good answers in a row make a target healthy."""

    @property
    def healthy_after_s(self) -> int:
        """The least time that a new target takes to be healthy."""
        return self.interval_s * self.threshold


class Target(Observation):
    """One registered target and the balancer's opinion of it."""

    id: str
    state: str
    reason: str | None = None
    description: str | None = None


class TargetGroupHealth(Observation):
    """The targets behind one service."""

    targets: tuple[Target, ...]


@probe(deadline=15)
async def balancer(observer: Observer, load_balancer: LoadBalancer) -> Balancer:
    """The load balancer with its listeners; the rules of those that speak HTTPS."""
    part: Part | None = None if load_balancer == observer.environment.load_balancer else "counterpart"
    try:
        answer = await observer.aws.call(
            observer, "elbv2", "describe_load_balancers", part=part, Names=[load_balancer.name]
        )
    except AwsError as e:
        if e.code.startswith("LoadBalancerNotFound"):
            return Balancer(name=load_balancer.name, state="missing")
        raise
    described = answer["LoadBalancers"][0]
    arn = described["LoadBalancerArn"]
    answer = await observer.aws.call(observer, "elbv2", "describe_listeners", part=part, LoadBalancerArn=arn)
    listeners = answer["Listeners"]
    return Balancer(
        name=load_balancer.name,
        state=described["State"]["Code"],
        arn=arn,
        dns_name=described["DNSName"],
        zones=tuple(sorted(z["ZoneName"] for z in described["AvailabilityZones"])),
        security_groups=tuple(sorted(described.get("SecurityGroups", []))),
        listeners=tuple(await asyncio.gather(*[_listener(observer, each, part) for each in listeners])),
    )


@probe()
async def routes(observer: Observer) -> dict[str, set[str]]:
    """Host to the target groups that the HTTPS listener's rules send it to."""
    load_balancer = observer.environment.load_balancer
    assert load_balancer is not None, "asked only of environments with a load balancer"
    found: dict[str, set[str]] = {}
    for listener in (await observer.see(balancer, load_balancer)).listeners:
        for host, groups in listener.forwards:
            found.setdefault(host, set()).update(groups)
    return found


@probe(deadline=15)
async def target_health(observer: Observer, service: Service) -> TargetGroupHealth:
    """The health of every target in the groups that the service registers in."""
    described = await observer.see(ecs_service, service)
    if not described.target_groups:
        raise unknown("not-found", phrase("{} registers in no target group", described.name))
    targets = []
    for arn in described.target_groups:
        answer = await observer.aws.call(observer, "elbv2", "describe_target_health", TargetGroupArn=arn)
        targets += [_target(t) for t in answer["TargetHealthDescriptions"]]
    return TargetGroupHealth(targets=tuple(targets))


@probe(deadline=15)
async def balancer_attributes(observer: Observer, load_balancer: LoadBalancer) -> BalancerAttributes:
    """The load balancer's attributes."""
    arn = (await observer.see(balancer, load_balancer)).arn
    if arn is None:
        raise unknown("not-found", phrase("there is no load balancer {}", load_balancer.name))
    answer = await observer.aws.call(observer, "elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn)
    values = {a["Key"]: a["Value"] for a in answer["Attributes"]}
    return BalancerAttributes(
        name=load_balancer.name,
        idle_timeout_s=int(values.get("idle_timeout.timeout_seconds", 60)),
        deletion_protection=values.get("deletion_protection.enabled") == "true",
    )


@probe(deadline=15)
async def health_checks(observer: Observer) -> dict[str, HealthCheck]:
    """The health check of every group that a service of the environment registers in, by ARN, in one call."""
    services = await observer.see(ecs_services)
    wanted = sorted({arn for service in services.values() for arn in service.target_groups})
    if not wanted:
        return {}
    answer = await observer.aws.call(observer, "elbv2", "describe_target_groups", TargetGroupArns=wanted)
    return {
        g["TargetGroupArn"]: HealthCheck(
            group=g["TargetGroupName"],
            path=g.get("HealthCheckPath"),
            codes=(g.get("Matcher") or {}).get("HttpCode"),
            interval_s=g["HealthCheckIntervalSeconds"],
            threshold=g["HealthyThresholdCount"],
        )
        for g in answer["TargetGroups"]
    }


async def _listener(observer: Observer, listener: dict[str, Any], part: Part | None) -> Listener:
    forwards: list[tuple[str, tuple[str, ...]]] = []
    if listener["Protocol"] == "HTTPS":
        answer = await observer.aws.call(
            observer, "elbv2", "describe_rules", part=part, ListenerArn=listener["ListenerArn"]
        )
        for rule in answer["Rules"]:
            groups = tuple(g for action in rule.get("Actions", []) for g in _groups(action))
            forwards += [(host, groups) for c in rule.get("Conditions", []) for host in _hosts(c)]
    redirects = [a["RedirectConfig"] for a in listener.get("DefaultActions", []) if a.get("Type") == "redirect"]
    return Listener(
        arn=listener["ListenerArn"],
        port=listener["Port"],
        protocol=listener["Protocol"],
        certificates=tuple(c["CertificateArn"] for c in listener.get("Certificates", [])),
        policy=listener.get("SslPolicy"),
        redirects_to=f"{redirects[0].get('Protocol')} {redirects[0].get('StatusCode')}" if redirects else None,
        forwards=tuple(sorted(forwards)),
    )


def _groups(action: dict[str, Any]) -> list[str]:
    weighted = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
    arns = {g["TargetGroupArn"] for g in weighted} | {action.get("TargetGroupArn")}
    return sorted(arn for arn in arns if arn)


def _hosts(condition: dict[str, Any]) -> list[str]:
    if condition.get("Field") != "host-header":
        return []
    return list((condition.get("HostHeaderConfig") or {}).get("Values") or condition.get("Values") or [])


def _target(described: dict[str, Any]) -> Target:
    health = described["TargetHealth"]
    return Target(
        id=described["Target"]["Id"],
        state=health["State"],
        reason=health.get("Reason"),
        description=health.get("Description"),
    )
