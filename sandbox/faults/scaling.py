"""Faults of the API's scaling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import api_ecs, api_ecs_service


def _scalable(sandbox: Sandbox) -> dict[str, str]:
    where = api_ecs(sandbox)
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{where.cluster}/{where.service}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }


@fault("scaling-suspended", turns_red=["scaling-not-stopped", "scaling-registered"])
def scaling_suspended(sandbox: Sandbox) -> Iterator[None]:
    """The API's scaling was suspended during an incident and never resumed."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    states = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    scaling.register_scalable_target(**target, SuspendedState=dict.fromkeys(states, True))
    yield
    scaling.register_scalable_target(**target, SuspendedState=dict.fromkeys(states, False))


@fault("scaling-without-room", turns_red=["scaling-registered"])
def scaling_without_room(sandbox: Sandbox) -> Iterator[None]:
    """The maximum of the API's scaling is its current number of tasks."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = known["ScalableTargets"][0]
    scaling.register_scalable_target(**target, MaxCapacity=before["MinCapacity"])
    yield
    scaling.register_scalable_target(**target, MaxCapacity=before["MaxCapacity"])


@fault("scaling-down-to-one", turns_red=["scaling-registered"], production=True)
def scaling_down_to_one(sandbox: Sandbox) -> Iterator[None]:
    """The API's scaling may reduce the service to a single task."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = known["ScalableTargets"][0]
    scaling.register_scalable_target(**target, MinCapacity=1)
    yield
    scaling.register_scalable_target(**target, MinCapacity=before["MinCapacity"])


@fault("scaling-minimum-overridden", turns_red=["scaling-minimum-held"])
def scaling_minimum_overridden(sandbox: Sandbox) -> Iterator[None]:
    """The API runs fewer tasks than the minimum of its scaling: the minimum was raised, and no alarm has applied it."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = {key: known["ScalableTargets"][0][key] for key in ("MinCapacity", "MaxCapacity")}
    wanted = api_ecs_service(sandbox)["desiredCount"]
    scaling.register_scalable_target(**target, MinCapacity=wanted + 2, MaxCapacity=2 * wanted + 4)
    yield
    scaling.register_scalable_target(**target, **before)


@fault("scaling-at-its-limit", turns_red=["scaling-not-maxed"])
def scaling_at_its_limit(sandbox: Sandbox) -> Iterator[None]:
    """The API runs its maximum number of tasks."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = {key: known["ScalableTargets"][0][key] for key in ("MinCapacity", "MaxCapacity")}
    wanted = api_ecs_service(sandbox)["desiredCount"]
    scaling.register_scalable_target(**target, MinCapacity=wanted // 2, MaxCapacity=wanted)
    yield
    scaling.register_scalable_target(**target, **before)


@fault("scaling-policy-gone", turns_red=["scaling-policies"])
def scaling_policy_gone(sandbox: Sandbox) -> Iterator[None]:
    """The API has no scaling policy."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    policy = _policy(sandbox)
    scaling.delete_scaling_policy(**target, PolicyName=policy["PolicyName"])
    yield
    kept = ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration")
    scaling.put_scaling_policy(**target, **{key: policy[key] for key in kept})


@fault("scaling-alarm-gone", turns_red=["scaling-policies"])
def scaling_alarm_gone(sandbox: Sandbox) -> Iterator[None]:
    """The alarm that scales the API out was deleted."""
    cloudwatch, name = sandbox.aws("cloudwatch"), _policy(sandbox)["Alarms"][0]["AlarmName"]
    alarm = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    cloudwatch.delete_alarms(AlarmNames=[name])
    yield
    kept = ("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods",
            "Threshold", "ComparisonOperator", "AlarmActions", "AlarmDescription")  # fmt: skip
    cloudwatch.put_metric_alarm(**{key: alarm[key] for key in kept if key in alarm})


def _policy(sandbox: Sandbox) -> dict[str, Any]:
    resource = _scalable(sandbox)["ResourceId"]
    known = sandbox.aws("application-autoscaling").describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    return next(p for p in known if p["ResourceId"] == resource)


@fault("scaling-to-nothing", turns_red=["scaling-not-stopped"])
def scaling_to_nothing(sandbox: Sandbox) -> Iterator[None]:
    """The API's scaling has a minimum and a maximum of 0: the next scaling ends the service."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = {key: known["ScalableTargets"][0][key] for key in ("MinCapacity", "MaxCapacity")}
    scaling.register_scalable_target(**target, MinCapacity=0, MaxCapacity=0)
    yield
    scaling.register_scalable_target(**target, **before)


@fault("scaling-ends-the-service", turns_red=["scaling-not-stopped"])
def scaling_ends_the_service(sandbox: Sandbox) -> Iterator[None]:
    """A schedule scales the API to 0 tasks each evening, and none brings them back."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    none = {"MinCapacity": 0, "MaxCapacity": 0}
    action = {"ScheduledActionName": "evening", "Schedule": "cron(0 20 * * ? *)", "ScalableTargetAction": none}
    scaling.put_scheduled_action(**target, **action)
    yield
    scaling.delete_scheduled_action(**target, ScheduledActionName="evening")


@contextmanager
def _tracking(sandbox: Sandbox, **changes: Any) -> Iterator[None]:
    """Change the target tracking of the API's scaling."""
    scaling, policy = sandbox.aws("application-autoscaling"), _policy(sandbox)
    how = "TargetTrackingScalingPolicyConfiguration"
    kept = {key: policy[key] for key in ("PolicyName", "PolicyType")}
    scaling.put_scaling_policy(**_scalable(sandbox), **kept, **{how: {**policy[how], **changes}})
    yield
    scaling.put_scaling_policy(**_scalable(sandbox), **kept, **{how: policy[how]})


@fault("scaling-waits-too-long", turns_red=["scaling-policies"])
def scaling_waits_too_long(sandbox: Sandbox) -> Iterator[None]:
    """The target value of the API's scaling is 100 % of the CPU: no load is above that, and none starts a task."""
    with _tracking(sandbox, TargetValue=100.0):
        yield


@fault("scaling-grows-once-a-day", turns_red=["scaling-policies"])
def scaling_grows_once_a_day(sandbox: Sandbox) -> Iterator[None]:
    """The cooldown of the API's scaling is a day, written in seconds for minutes: after one growth it waits a day."""
    with _tracking(sandbox, ScaleOutCooldown=86_400):
        yield
