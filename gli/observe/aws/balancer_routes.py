"""Where the load balancer sends each request of a service's contract, and whether somebody answers there.

The rules of a listener are tried by priority, and the first that matches decides. Source of truth: elbv2 DescribeRules
and DescribeTargetHealth; the Application Load Balancer guide, "Listener rules".
"""

from __future__ import annotations

from urllib.parse import urlsplit

from gli.common.sentences import phrase
from gli.config.services import Service
from gli.observe.aws.ecs_services import ecs_service
from gli.observe.aws.load_balancer import ACTIONS, TARGET_STATES, Rule, balancer, group_targets, routes, target_health
from gli.observe.engine.observation import Observation, one_of, unknown
from gli.observe.engine.probe import Observer, probe

_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


class Reached(Observation):
    """One request of the contract, and the rule that takes it; None: no rule does."""

    method: str
    path: str
    rule: Rule | None


class Share(Observation):
    """A target group that gets a share of the service's requests, and how many of its targets are healthy."""

    group: str
    healthy: int


@probe()
async def reached_rules(observer: Observer, service: Service) -> tuple[Reached, ...]:
    """The rule for each request of the contract: every path by GET, and the path of the API by every method."""
    if service.load_balancer is None:
        raise unknown("not-found", phrase("{} stands behind no load balancer", service.name))
    listeners = (await observer.see(balancer, service.load_balancer)).listeners
    rules = [r for x in listeners if x.port == service.port for r in x.rules]
    reached = tuple(
        Reached(method=method, path=path, rule=next((r for r in rules if r.takes(service.host, path, method)), None))
        for method, path in _requests(service)
    )
    for rule in (r.rule for r in reached if r.rule):
        one_of(ACTIONS, rule.does, phrase("the action of the rule for {}", service.host))
    return reached


def _requests(service: Service) -> list[tuple[str, str]]:
    if service.websocket:
        paths = [urlsplit(service.url).path, service.protected_path]
    else:
        paths = [service.health_path, service.deep_health_path, service.version_path, service.protected_path]
        paths += [service.error_path, service.cors_path, service.cookies.path if service.cookies else None]
        paths += [urlsplit(e.path).path for e in service.contract]
    found = [("GET", service.path_of(path)) for path in paths if path]
    called = service.cors_path or (service.contract[0].path if service.contract else None)
    return list(dict.fromkeys([*found, *((m, service.path_of(urlsplit(called).path)) for m in _METHODS if called)]))


@probe(deadline=15)
async def route_shares(observer: Observer, service: Service) -> tuple[Share, ...]:
    """Every target group that the service's rule gives a weight above 0; without a rule, none."""
    rule = (await observer.see(routes)).get(service.name)
    serving = (await observer.see(ecs_service, service)).serving_groups
    known = (await observer.see(target_health, service)).targets if serving else ()
    found = []
    for arn in rule.groups if rule else ():
        targets = [t for t in known if t.group == arn] if arn in serving else await group_targets(observer, arn)
        what = phrase("the state of a target of {}", service.name)
        healthy = sum(one_of(TARGET_STATES, t.state, what) == "healthy" for t in targets)
        found.append(Share(group=arn.split(":")[-1], healthy=healthy))
    return tuple(found)
