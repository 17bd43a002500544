"""Scaling of the services: its bounds, and the metrics that it follows.

Source of truth: application-autoscaling DescribeScalableTargets and DescribeScalingPolicies; cloudwatch DescribeAlarms
for the alarms that the policies name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gli.config.services import Service
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_ALARMS_PER_CALL = 100  # the most names that cloudwatch DescribeAlarms accepts
_LOAD = ("CPU", "RequestCount")  # parts of AWS's names for metrics that grow with traffic


class ScalableTarget(Observation):
    """The bounds of one service. `registered` is false if application auto scaling does not know the service."""

    service: str
    registered: bool
    minimum: int = 0
    maximum: int = 0
    suspended: tuple[str, ...] | None = ()
    """The kinds of scaling that are switched off, for example `DynamicScalingInSuspended`. None: AWS does not tell."""


class ScalingPolicy(Observation):
    """One policy: the metrics that it follows, and its alarms that no longer exist."""

    name: str
    metrics: tuple[str, ...]
    missing_alarms: tuple[str, ...]

    @property
    def follows_load(self) -> bool:
        """Whether the policy scales by CPU or by requests."""
        return any(word in metric for metric in self.metrics for word in _LOAD)


@probe()
async def scalable_targets(observer: Observer) -> dict[str, ScalableTarget]:
    """Service name to its bounds, from one call."""
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
    """Service name to its policies. One call for all policies, and one for the alarms that they name."""
    wanted = _resources(observer)
    answer = await observer.aws.call(
        observer, "application-autoscaling", "describe_scaling_policies", ServiceNamespace="ecs"
    )
    policies = [p for p in answer["ScalingPolicies"] if p["ResourceId"] in wanted]
    named = sorted({name for p in policies for name in _alarms(p)})
    alarms: dict[str, tuple[str, ...]] = {}
    for n in range(0, len(named), _ALARMS_PER_CALL):
        batch = named[n : n + _ALARMS_PER_CALL]
        described = await observer.aws.call(observer, "cloudwatch", "describe_alarms", AlarmNames=batch)
        alarms |= {a["AlarmName"]: _watched(a) for a in described["MetricAlarms"]}
    return {
        service.name: tuple(_policy(p, alarms) for p in policies if p["ResourceId"] == resource)
        for resource, service in wanted.items()
    }


def _resources(observer: Observer) -> dict[str, Service]:
    """Resource id to service, for every service on ECS."""
    services = observer.environment.services.values()
    return {f"service/{s.ecs.cluster}/{s.ecs.service}": s for s in services if s.ecs}


def _target(service: Service, target: Mapping[str, Any] | None) -> ScalableTarget:
    name = service.ecs.service if service.ecs else service.name
    if target is None:
        return ScalableTarget(service=name, registered=False)
    switched = target.get("SuspendedState")
    return ScalableTarget(
        service=name,
        registered=True,
        minimum=target["MinCapacity"],
        maximum=target["MaxCapacity"],
        suspended=tuple(sorted(key for key, off in switched.items() if off is True)) if switched is not None else None,
    )


def _policy(policy: Mapping[str, Any], alarms: Mapping[str, tuple[str, ...]]) -> ScalingPolicy:
    named = _alarms(policy)
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


def _alarms(policy: Mapping[str, Any]) -> list[str]:
    """The names of a policy's alarms. A predictive policy has none."""
    if policy.get("PolicyType") == "PredictiveScaling":
        return []
    return [a["AlarmName"] for a in policy["Alarms"]]


def _followed(tracking: Mapping[str, Any]) -> list[str]:
    """The metrics of a target-tracking policy: one of AWS's, a custom one, or several in metric math."""
    predefined = (tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType") or ""
    custom = tracking.get("CustomizedMetricSpecification") or {}
    return [predefined, custom.get("MetricName") or "", *_in_math(custom.get("Metrics") or [])]


def _predicted(specification: Mapping[str, Any]) -> list[str]:
    """The metrics of a predictive policy: a pair of load and scaling metric, or each by itself."""
    predefined = [v.get("PredefinedMetricType") or "" for k, v in specification.items() if k.startswith("Predefined")]
    custom = [v for k, v in specification.items() if k.startswith("Customized")]
    return [*predefined, *(m for each in custom for m in _in_math(each.get("MetricDataQueries") or []))]


def _watched(alarm: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics of an alarm: one metric, or several in metric math."""
    return tuple(m for m in (alarm.get("MetricName") or "", *_in_math(alarm.get("Metrics") or [])) if m)


def _in_math(queries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics in the queries of metric math."""
    return [((q.get("MetricStat") or {}).get("Metric") or {}).get("MetricName") or "" for q in queries]
