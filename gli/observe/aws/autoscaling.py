"""Scaling of the services: within which bounds, and after what.

Source of truth: application-autoscaling DescribeScalableTargets and DescribeScalingPolicies; cloudwatch DescribeAlarms
for the alarms that the policies name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gli.config.environments import Service
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_ALARMS_PER_CALL = 100  # cloudwatch DescribeAlarms takes no more names
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
    alarms: dict[str, tuple[str, ...]] = {}
    for n in range(0, len(named), _ALARMS_PER_CALL):
        batch = named[n : n + _ALARMS_PER_CALL]
        described = await observer.aws.call(observer, "cloudwatch", "describe_alarms", AlarmNames=batch)
        alarms |= {a["AlarmName"]: _watched(a) for a in described.get("MetricAlarms") or []}
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


def _policy(policy: Mapping[str, Any], alarms: Mapping[str, tuple[str, ...]]) -> ScalingPolicy:
    named = [a["AlarmName"] for a in policy.get("Alarms") or []]
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
    predictive = policy.get("PredictiveScalingPolicyConfiguration") or {}
    metrics = {metric for name in named for metric in alarms.get(name, ())}
    metrics |= {*_followed(tracking)}
    metrics |= {metric for each in predictive.get("MetricSpecifications") or [] for metric in _predicted(each)}
    return ScalingPolicy(
        name=policy["PolicyName"],
        metrics=tuple(sorted(m for m in metrics if m)),
        missing_alarms=tuple(sorted(set(named) - set(alarms))),
    )


def _followed(tracking: Mapping[str, Any]) -> list[str]:
    """What a target-tracking policy follows: one of AWS's metrics, one of its own, or metric math over several."""
    predefined = (tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType") or ""
    custom = tracking.get("CustomizedMetricSpecification") or {}
    return [predefined, custom.get("MetricName") or "", *_in_math(custom.get("Metrics") or [])]


def _predicted(specification: Mapping[str, Any]) -> list[str]:
    """What a predictive policy follows: a pair of load and scaling metrics, or each by itself."""
    predefined = [v.get("PredefinedMetricType") or "" for k, v in specification.items() if k.startswith("Predefined")]
    custom = [v for k, v in specification.items() if k.startswith("Customized")]
    return [*predefined, *(m for each in custom for m in _in_math(each.get("MetricDataQueries") or []))]


def _watched(alarm: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics of an alarm, which may be on one or on metric math."""
    return tuple(m for m in (alarm.get("MetricName") or "", *_in_math(alarm.get("Metrics") or [])) if m)


def _in_math(queries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics that metric math is made of."""
    return [((q.get("MetricStat") or {}).get("Metric") or {}).get("MetricName") or "" for q in queries]
