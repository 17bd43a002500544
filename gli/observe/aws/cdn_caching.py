"""Answers that belong to one user, and that a distribution in front of the API would give to others.

Source of truth: cloudfront GetDistribution; CloudFront's developer guide, "Manage how long content stays in the cache":
a minimum TTL wins over no-store and private, and an answer without Cache-Control stays for the default TTL.
"""

from __future__ import annotations

from gli.common.sentences import Said, phrase
from gli.config.services import Frontend, Service
from gli.observe.aws.cloudfront import Behavior, distribution
from gli.observe.edge.http import anonymous_answer, cookie_answer
from gli.observe.engine.probe import Observer, probe


@probe(deadline=20)
async def shared_answers(observer: Observer, frontend: Frontend) -> tuple[Said, ...]:
    """Each path of one user's answers that the frontend's distribution passes to the API and keeps for all users.

    Such a path sets cookies, wants a token, or has an authorization in the contract. A behaviour whose origin is a
    bucket serves none of them. Customers' own cache policies are not read.
    """
    served_by = await observer.see(distribution, frontend)
    found = []
    for service in observer.environment.services.values():
        for path in () if service.websocket else _of_one_user(service):
            behavior = served_by.taking(path)
            seconds = 0 if behavior.of_bucket else await _kept_s(observer, behavior, service)
            if seconds:
                found.append(phrase("{} for {} s by {}", path, seconds, behavior.path))
    return tuple(found)


def _of_one_user(service: Service) -> list[str]:
    paths = [service.protected_path, service.cookies.path if service.cookies else None]
    paths += [endpoint.path for endpoint in service.contract if endpoint.authorization]
    return sorted({service.path_of(path) for path in paths if path})


async def _kept_s(observer: Observer, behavior: Behavior, service: Service) -> int:
    least, usual = max(behavior.least_cached_s, behavior.policy_keeps_s[0]), behavior.usually_cached_s
    usual = max(usual, behavior.policy_keeps_s[1])
    if not behavior.shared or not (least or usual):
        return 0
    return least or (usual if await _says_nothing(observer, service) else 0)


async def _says_nothing(observer: Observer, service: Service) -> bool:
    """Whether an answer for one user leaves it to caches how long they keep it."""
    asked = [await observer.see(cookie_answer, service)] if service.cookies else []
    asked += [await observer.see(anonymous_answer, service)] if service.protected_path else []
    return any(not answer.headers.get("cache-control") for answer in asked)
