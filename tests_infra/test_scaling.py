"""Scaling: each service can grow within bounds, and a policy makes it grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import told

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.services import Service
    from gli.observe.aws.autoscaling import ScalableTarget, ScalingPolicy, ScheduledChange
    from gli.observe.aws.ecs_services import EcsService


LONGEST_WAIT_S = 1800
"""AWS's own default is 300 s; a load that has grown for half an hour has overrun the service."""


def test_scaling_registered(
    scalable_targets: Mapping[str, ScalableTarget], ecs_service: EcsService, target: Service
) -> None:
    """The service scales between bounds with room, wants no more tasks than them, and scaling is not suspended."""
    assert target.ecs is not None
    bounds, least = scalable_targets[target.name], target.ecs.minimum_tasks
    assert bounds.registered, saw(phrase("none"), expected=phrase("a scalable target for {}", bounds.service))
    within = phrase("{} to {}", bounds.minimum, bounds.maximum)
    assert bounds.minimum >= least and bounds.maximum >= 2 * bounds.minimum, saw(
        within, expected=phrase("{} to scale from {} or more to twice as many at least", bounds.service, least)
    )
    assert ecs_service.desired <= bounds.maximum, saw(
        phrase("{} wanted", ecs_service.desired), expected=phrase("{} to want {} tasks", bounds.service, within)
    )
    suspended = told(bounds.suspended, phrase("whether scaling of {} is suspended", bounds.service))
    assert not suspended, saw(listed(suspended), expected=phrase("no scaling of {} suspended", bounds.service))


def test_scaling_minimum_held(
    scalable_targets: Mapping[str, ScalableTarget], ecs_service: EcsService, target: Service
) -> None:
    """The service wants at least the tasks that its scaling keeps: a deploy or a person that set fewer is not undone
    before an alarm scales out.
    """
    bounds = scalable_targets[target.name]
    assert bounds.minimum <= bounds.maximum, saw(
        phrase("{} to {}", bounds.minimum, bounds.maximum),
        expected=phrase("a minimum of {} below its maximum", bounds.service),
    )
    assert not bounds.registered or ecs_service.desired >= bounds.minimum, saw(
        phrase("{} wanted", ecs_service.desired),
        expected=phrase("{} to want {} tasks or more", bounds.service, bounds.minimum),
    )


def test_scaling_not_stopped(
    scalable_targets: Mapping[str, ScalableTarget],
    scheduled_changes: Mapping[str, Sequence[ScheduledChange]],
    target: Service,
    environment: Environment,
) -> None:
    """Nothing takes the service's tasks away or keeps it from growing: no maximum below its fewest tasks, no schedule
    that sets one, no suspended scale-out. Outside production a schedule may take them away if another one
    gives them back.
    """
    assert target.ecs is not None
    bounds, least = scalable_targets[target.name], target.ecs.minimum_tasks
    assert not bounds.registered or bounds.maximum >= least, saw(
        phrase("at most {}", bounds.maximum), expected=phrase("{} to have {} tasks or more", bounds.service, least)
    )
    assert "DynamicScalingOutSuspended" not in (bounds.suspended or ()), saw(
        phrase("scale-out suspended"), expected=phrase("{} to grow with its load", bounds.service)
    )
    changes = scheduled_changes[target.name]
    ending = [c for c in changes if c.maximum is not None and c.maximum < least]
    comes_back = any(c.minimum is not None and c.minimum >= least for c in changes)
    assert not ending or (comes_back and not environment.production), saw(
        listed(phrase("{} sets at most {} by {}", c.name, c.maximum, c.schedule) for c in ending),
        expected=phrase("no schedule that ends {}", bounds.service),
    )


def test_scaling_not_maxed(
    scalable_targets: Mapping[str, ScalableTarget], ecs_service: EcsService, target: Service
) -> None:
    """The service can still grow: at its upper bound it can't take more load."""
    bounds = scalable_targets[target.name]
    assert bounds.registered and ecs_service.desired < bounds.maximum, saw(
        phrase("{} of at most {} tasks", ecs_service.desired, bounds.maximum)
        if bounds.registered
        else phrase("no scalable target"),
        expected=phrase("room for {} to grow", bounds.service),
    )


def test_scaling_policies(scaling_policies: Mapping[str, Sequence[ScalingPolicy]], target: Service) -> None:
    """The service grows with its load, before all of its CPU is used and again soon after, and the alarms that start
    the growth exist.
    """
    assert target.ecs is not None
    policies, service = scaling_policies[target.name], target.ecs.service
    followed = [phrase("{} by {}", p.name, listed(p.metrics)) for p in policies]
    assert any(p.follows_load for p in policies), saw(
        listed(followed), expected=phrase("a policy that scales {} by CPU or by requests", service)
    )
    late = [phrase("{} at {:g} %", p.name, p.target) for p in policies if p.out_of_reach]
    assert not late, saw(listed(late), expected=phrase("policies that scale {} before all of it is used", service))
    slow = [
        phrase("{} after {} s", p.name, p.waits_s) for p in policies if p.follows_load and p.waits_s > LONGEST_WAIT_S
    ]
    assert len(slow) < sum(p.follows_load for p in policies), saw(
        listed(slow), expected=phrase("{} to grow again within {} s", service, LONGEST_WAIT_S)
    )
    missing = [alarm for p in policies for alarm in p.missing_alarms]
    assert not missing, saw(phrase("no {}", listed(missing)), expected=phrase("the alarms that scale {}", service))
