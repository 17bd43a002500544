"""Scaling of the services: within which bounds, and after what.

Source of truth: application-autoscaling DescribeScalableTargets and DescribeScalingPolicies; cloudwatch DescribeAlarms
for the alarms that the policies name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gli.config.environments import Service
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_LOAD = ("CPU", "RequestCount")  # in AWS's names for what grows with traffic


class ScalableTarget(Observation):
    """The bounds of one service; `registered` is false where application auto scaling does not know it."""

    service: str
    registered: bool
    minimum: int = 0
    maximum: int = 0
    suspended: tuple[str, ...] = ()
    """What somebody switched off, as in `DynamicScalingInSuspended`."""


class ScalingPolicy(Observation):
    """One policy: what it follows, and which of its alarms are gone."""

    name: str
    metrics: tuple[str, ...]
    missing_alarms: tuple[str, ...]

    @property
    def follows_load(self) -> bool:
        """Whether it scales by CPU or by requests."""
        return any(word in metric for metric in self.metrics for word in _LOAD)


@probe()
async def scalable_targets(observer: Observer) -> dict[str, ScalableTarget]:
    """The bounds of every service by its name, in one call."""
    wanted = _resources(observer)
    answer = await observer.aws.call(
        observer,
        "application-autoscaling",
        "describe_scalable_targets",
        ServiceNamespace="ecs",
        ResourceIds=sorted(wanted),
    )
    found = {t["ResourceId"]: t for t in answer["ScalableTargets"]}
    return {service.name: _target(service, found.get(resource)) for resource, service in wanted.items()}


@probe(deadline=15)
async def scaling_policies(observer: Observer) -> dict[str, tuple[ScalingPolicy, ...]]:
    """The policies of every service by its name; one call for all, and one for the alarms that they name."""
    wanted = _resources(observer)
    answer = await observer.aws.call(
        observer, "application-autoscaling", "describe_scaling_policies", ServiceNamespace="ecs"
    )
    policies = [p for p in answer["ScalingPolicies"] if p["ResourceId"] in wanted]
    named = sorted({a["AlarmName"] for p in policies for a in p.get("Alarms") or []})
    alarms: dict[str, str] = {}
    if named:
        described = await observer.aws.call(observer, "cloudwatch", "describe_alarms", AlarmNames=named)
        alarms = {a["AlarmName"]: a.get("MetricName", "") for a in described.get("MetricAlarms") or []}
    return {
        service.name: tuple(_policy(p, alarms) for p in policies if p["ResourceId"] == resource)
        for resource, service in wanted.items()
    }


def _resources(observer: Observer) -> dict[str, Service]:
    """Every service by its resource id."""
    services = observer.environment.services.values()
    return {f"service/{s.ecs.cluster}/{s.ecs.service}": s for s in services if s.ecs}


def _target(service: Service, target: Mapping[str, Any] | None) -> ScalableTarget:
    name = service.ecs.service if service.ecs else service.name
    if target is None:
        return ScalableTarget(service=name, registered=False)
    suspended = target.get("SuspendedState") or {}
    return ScalableTarget(
        service=name,
        registered=True,
        minimum=target["MinCapacity"],
        maximum=target["MaxCapacity"],
        suspended=tuple(sorted(key for key, off in suspended.items() if off)),
    )


def _policy(policy: Mapping[str, Any], alarms: Mapping[str, str]) -> ScalingPolicy:
    named = [a["AlarmName"] for a in policy.get("Alarms") or []]
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
    predefined = (tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType")
    custom = (tracking.get("CustomizedMetricSpecification") or {}).get("MetricName")
    metrics = {predefined, custom, *(alarms.get(name) for name in named)}
    return ScalingPolicy(
        name=policy["PolicyName"],
        metrics=tuple(sorted(m for m in metrics if m)),
        missing_alarms=tuple(sorted(set(named) - set(alarms))),
    )
