"""The load balancer as users meet it: each request reaches the service, and only the service's own tasks answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import unknown

if TYPE_CHECKING:
    from gli.config.services import Service
    from gli.observe.aws.balancer_routes import Reached, Share
    from gli.observe.aws.ecs_services import EcsService
    from gli.observe.aws.ecs_tasks import ServiceTasks
    from gli.observe.aws.load_balancer import BalancerAttributes, GroupSettings, Rule, TargetGroupHealth

LEAST_DRAINING_S = 5


def test_alb_rules_reach_service(reached_rules: Sequence[Reached], ecs_service: EcsService, target: Service) -> None:
    """Every request of the contract reaches the service: no earlier rule answers, redirects or asks for a login."""
    own = set(ecs_service.serving_groups)
    lost = [phrase("{} {} met {}", r.method, r.path, _met(r.rule)) for r in reached_rules if not _serves(r.rule, own)]
    assert not lost, saw(listed(lost), expected=phrase("every request for {} to reach {}", target.host, target.name))


def test_alb_targets_are_ours(target_health: TargetGroupHealth, service_tasks: ServiceTasks) -> None:
    """Every target that gets requests is a running task of the service, and no stranger."""
    own = {address for task in service_tasks.running for address in task.addresses}
    registered = [t.id for t in target_health.targets if not t.leaving and _is_address(t.id)]
    if registered and not own:
        raise unknown("too-little-data", phrase("ECS names no address of a task of {}", service_tasks.service))
    strangers = sorted({*registered} - own)
    assert not strangers, saw(
        listed(strangers), expected=phrase("only tasks of {} among its targets", service_tasks.service)
    )


def test_alb_weights_serve(route_shares: Sequence[Share], target: Service) -> None:
    """Every target group that gets a share of the requests has a healthy target: the share of another is lost."""
    empty = [share.group for share in route_shares if not share.healthy]
    assert not empty, saw(
        phrase("no healthy target in {}", listed(empty)),
        expected=phrase("a healthy target for every share of the requests for {}", target.host),
    )


def test_alb_draining(group_settings: Mapping[str, GroupSettings], target: Service) -> None:
    """A task that a deploy replaces may finish its requests: the target group waits before it cuts them off."""
    short = [
        phrase("{} s in {}", settings.draining_s, group)
        for group, settings in group_settings.items()
        if settings.draining_s < LEAST_DRAINING_S
    ]
    assert not short, saw(
        listed(short), expected=phrase("at least {} s for the last requests of {}", LEAST_DRAINING_S, target.name)
    )


def test_alb_forwards_clients(balancer_attributes: BalancerAttributes) -> None:
    """The application learns the address of each user: without it, limits and logs take all users for one."""
    assert not balancer_attributes.removes_clients, saw(
        phrase("X-Forwarded-For removed"),
        expected=phrase("{} to tell the address of each user", balancer_attributes.name),
    )


def test_alb_spares_sick_tasks(
    group_settings: Mapping[str, GroupSettings], target_health: TargetGroupHealth, target: Service
) -> None:
    """A task that fails its health check gets no requests: the target group does not demand all of its targets before
    it tells healthy ones from unhealthy ones.
    """
    targets = Counter(t.group.split(":")[-1] for t in target_health.targets if not t.leaving)
    careless = [
        phrase("at least {} healthy of {} in {}", _demanded(settings), targets[group], group)
        for group, settings in group_settings.items()
        if settings.trusts_the_sick(targets[group])
    ]
    assert not careless, saw(
        listed(careless), expected=phrase("no requests for a task of {} that fails its health check", target.name)
    )


def _demanded(settings: GroupSettings) -> str:
    percent = settings.least_healthy_percent
    return f"{percent} %" if percent else str(settings.least_healthy)


def _serves(rule: Rule | None, own: set[str]) -> bool:
    return (
        rule is not None
        and rule.does == "forward"
        and not rule.authenticates
        and bool(rule.groups)
        and {*rule.groups} <= own
    )


def _met(rule: Rule | None) -> str:
    if rule is None:
        return phrase("no rule")
    if rule.authenticates:
        return phrase("a login")
    if rule.does != "forward":
        return phrase("a {}", rule.does)
    return listed(sorted(arn.split(":")[-1] for arn in rule.groups)) if rule.groups else phrase("no target group")


def _is_address(target: str) -> bool:
    try:
        ip_address(target)
    except ValueError:
        return False
    return True
