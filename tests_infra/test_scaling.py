"""Scaling: each service may grow, within bounds, and something makes it."""

from collections.abc import Mapping, Sequence

from gli.common.sentences import listed, saw
from gli.config.environments import Service
from gli.observe.aws.autoscaling import ScalableTarget, ScalingPolicy
from gli.observe.aws.ecs_services import EcsService


def test_scaling_registered(
    scalable_targets: Mapping[str, ScalableTarget], ecs_service: EcsService, target: Service
) -> None:
    """The service scales between bounds that leave room, holds to them now, and nobody switched it off."""
    assert target.ecs is not None
    bounds, least = scalable_targets[target.name], target.ecs.minimum_tasks
    assert bounds.registered, saw("none", expected=f"a scalable target for {bounds.service}")
    within = f"{bounds.minimum} to {bounds.maximum}"
    assert bounds.minimum >= least and bounds.maximum >= 2 * bounds.minimum, saw(
        within, expected=f"{bounds.service} to scale from {least} or more to twice as many at least"
    )
    assert bounds.minimum <= ecs_service.desired <= bounds.maximum, saw(
        f"{ecs_service.desired} wanted", expected=f"{bounds.service} to want {within} tasks"
    )
    assert not bounds.suspended, saw(listed(bounds.suspended), expected=f"no scaling of {bounds.service} suspended")


def test_scaling_not_maxed(
    scalable_targets: Mapping[str, ScalableTarget], ecs_service: EcsService, target: Service
) -> None:
    """The service can still grow: at its upper bound more load has nowhere to go."""
    bounds = scalable_targets[target.name]
    assert bounds.registered and ecs_service.desired < bounds.maximum, saw(
        f"{ecs_service.desired} of at most {bounds.maximum} tasks" if bounds.registered else "no scalable target",
        expected=f"room for {bounds.service} to grow",
    )


def test_scaling_policies(scaling_policies: Mapping[str, Sequence[ScalingPolicy]], target: Service) -> None:
    """The service grows with its load, and the alarms that make it are there."""
    assert target.ecs is not None
    policies, service = scaling_policies[target.name], target.ecs.service
    followed = [f"{p.name} by {listed(p.metrics)}" for p in policies]
    assert any(p.follows_load for p in policies), saw(
        listed(followed), expected=f"a policy that scales {service} by CPU or by requests"
    )
    missing = [alarm for p in policies for alarm in p.missing_alarms]
    assert not missing, saw(f"no {listed(missing)}", expected=f"the alarms that scale {service}")
