"""The account's quota of vCPUs for Fargate, and how much of it is in use.

Source of truth: servicequotas GetServiceQuota and GetAWSDefaultServiceQuota; cloudwatch GetMetricData.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from gli.common.sentences import phrase
from gli.observe.aws.cloudwatch import metrics
from gli.observe.aws.ecs_services import EcsService, ecs_services
from gli.observe.aws.metric_queries import FARGATE, USED
from gli.observe.aws.task_definitions import task_definition
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, told, unknown
from gli.observe.engine.probe import Observer, probe

_FARGATE: dict[str, Any] = {"ServiceCode": "fargate", "QuotaCode": "L-3032A538"}
"""`Fargate On-Demand vCPU resource count`; Spot has a quota of its own."""
_LATELY = timedelta(minutes=30)


class FargateQuota(Observation):
    """vCPUs of Fargate in the account and region."""

    quota: float
    used: float
    """The most of the last half hour, by all tasks of the account."""
    needed: float
    """What the deploy that needs the most takes in addition before it can go on: one task, where ECS replaces one after
    the other and tries again while the quota is used up; all new tasks, where they start beside the old ones."""


@probe(deadline=20)
async def fargate_quota(observer: Observer) -> FargateQuota | None:
    """The quota, what is used and what a deploy adds; None where no service runs on Fargate On-Demand.

    One call, and one more where the account has AWS's default.
    """
    needed, running = [0.0], 0
    for name, described in (await observer.see(ecs_services)).items():
        definition = await observer.see(task_definition, observer.environment.services[name])
        if "FARGATE" not in definition.compatibilities or described.platform is None or described.spot:
            continue
        running += described.running
        vcpus = told(definition.cpu_units, phrase("the CPU of {}", definition.name)) / 1024
        needed.append(vcpus * _at_once(described))
    if not running:
        return None
    return FargateQuota(quota=await _quota(observer), used=await _used(observer), needed=max(needed))


async def _quota(observer: Observer) -> float:
    """The quota of this account; AWS's default where it applied no other."""
    try:
        answer = await observer.aws.call(observer, "service-quotas", "get_service_quota", **_FARGATE)
    except AwsError as e:
        if e.code != "NoSuchResourceException":
            raise
        answer = await observer.aws.call(observer, "service-quotas", "get_aws_default_service_quota", **_FARGATE)
    return float(answer["Quota"]["Value"])


def _at_once(service: EcsService) -> int:
    """How many new tasks must run before the first old one may stop."""
    if service.controller != "ECS" or service.strategy != "ROLLING":
        return service.desired
    kept = told(service.minimum_healthy_percent, phrase("the minimumHealthyPercent of {}", service.name))
    stops_first = math.ceil(service.desired * kept / 100) < service.desired
    return 0 if stops_first else min(1, service.desired)


async def _used(observer: Observer) -> float:
    seen = await observer.see(metrics)
    values = seen.between(FARGATE, USED, seen.taken - _LATELY, seen.taken)
    if not values:
        raise unknown("too-little-data", phrase("CloudWatch has no usage of Fargate's vCPUs in the last 30 min"))
    return max(values)
