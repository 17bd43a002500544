"""Scaling of the services: its bounds, and the metrics that it follows.

Source of truth: application-autoscaling DescribeScalableTargets, DescribeScalingPolicies and DescribeScheduledActions;
cloudwatch DescribeAlarms for the alarms that the policies name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gli.common.clock import now
from gli.config.services import Service
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe

_ALARMS_PER_CALL = 100  # the most names that cloudwatch DescribeAlarms accepts
_LAST_ZONE = timedelta(hours=12)  # of the last time zone behind UTC
_LOAD = ("CPU", "RequestCount")  # parts of AWS's names for metrics that grow with traffic


class ScalableTarget(Observation):
    """The bounds of one service. `registered` is false if application auto scaling does not know the service."""

    service: str
    registered: bool
    minimum: int = 0
    maximum: int = 0
    suspended: tuple[str, ...] | None = ()
    """The kinds of scaling that are switched off, for example `DynamicScalingInSuspended`. None: AWS does not tell."""


class ScheduledChange(Observation):
    """A change of a service's bounds at a time or again and again; None: that bound stays."""

    name: str
    schedule: str
    """`at(2026-12-24T20:00:00)`, `cron(0 20 * * ? *)` or `rate(1 day)`."""
    minimum: int | None = None
    maximum: int | None = None


class ScalingPolicy(Observation):
    """One policy: the metrics that it follows, and its alarms that no longer exist."""

    name: str
    metrics: tuple[str, ...]
    missing_alarms: tuple[str, ...]
    target: float | None = None
    """The value that a target-tracking policy holds its metric at."""
    waits_s: int = 0
    """Seconds after a growth in which the policy starts no further task."""

    @property
    def out_of_reach(self) -> bool:
        """Whether it waits for more than all of the CPU or memory."""
        percent = bool(self.metrics) and all(metric.endswith("Utilization") for metric in self.metrics)
        return percent and self.target is not None and self.target >= 100

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


@probe()
async def scheduled_changes(observer: Observer) -> dict[str, tuple[ScheduledChange, ...]]:
    """Service name to the changes of its bounds that are still to come. One call for all services."""
    answer = await observer.aws.call(
        observer, "application-autoscaling", "describe_scheduled_actions", ServiceNamespace="ecs"
    )
    to_come = [a for a in answer["ScheduledActions"] if not _is_over(a)]
    return {
        service.name: tuple(_change(a) for a in to_come if a["ResourceId"] == resource)
        for resource, service in _resources(observer).items()
    }


def _is_over(action: Mapping[str, Any]) -> bool:
    """Whether a scheduled action has ended, or was for one time that has passed in every time zone."""
    once = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", action["Schedule"])
    ends = datetime.fromisoformat(once[1]).replace(tzinfo=UTC) + _LAST_ZONE if once else action.get("EndTime")
    return ends is not None and ends < now()


def _change(action: Mapping[str, Any]) -> ScheduledChange:
    bounds = action.get("ScalableTargetAction") or {}
    return ScheduledChange(
        name=action["ScheduledActionName"],
        schedule=action["Schedule"],
        minimum=bounds.get("MinCapacity"),
        maximum=bounds.get("MaxCapacity"),
    )


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
    stepping = policy.get("StepScalingPolicyConfiguration") or {}
    predictive = policy.get("PredictiveScalingPolicyConfiguration") or {}
    metrics = {metric for name in named for metric in alarms.get(name, ())}
    metrics |= {*_followed(tracking)}
    metrics |= {metric for each in predictive.get("MetricSpecifications") or [] for metric in _predicted(each)}
    return ScalingPolicy(
        name=policy["PolicyName"],
        metrics=tuple(sorted(m for m in metrics if m)),
        missing_alarms=tuple(sorted(set(named) - set(alarms))),
        target=tracking["TargetValue"] if tracking else None,
        waits_s=int(tracking.get("ScaleOutCooldown") or stepping.get("Cooldown") or 0),
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
