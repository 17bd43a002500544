"""CloudFront distributions as AWS describes them.

Source of truth: cloudfront ListDistributions, GetDistribution and ListInvalidations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from gli.common.sentences import phrase
from gli.config.environments import Environment
from gli.config.services import Frontend
from gli.observe.engine.aws_session import Part
from gli.observe.engine.observation import Observation, one_of, unknown
from gli.observe.engine.probe import Observer, probe

_NEWEST_INVALIDATIONS = 100  # one page
_DEFAULT_ERROR_CACHING_S = 10
_EVENTS = frozenset({"viewer-request", "viewer-response", "origin-request", "origin-response", "connection-request"})
_INVALIDATION = frozenset({"completed", "inprogress"})


class Origin(Observation):
    """The origin from which a distribution fetches its objects."""

    domain_name: str
    access_control: str | None
    """Its origin access control, or the older origin access identity; None: it asks without credentials."""
    path: str = ""
    """The folder in which it looks for each object, as in `/web`."""

    def reads_as(self, identity: str) -> bool:
        """Whether the distribution reads the bucket with this origin access identity (`E2QWRUHAPOMQZL`)."""
        return self.access_control == f"origin-access-identity/cloudfront/{identity}"


class ErrorResponse(Observation):
    """What a distribution answers to a user when its origin answers with an error."""

    status: int
    page: str | None
    shown_as: int | None
    cached_s: int


class Behavior(Observation):
    """How a distribution handles the requests for some paths."""

    path: str
    viewers: str | None
    """How it handles plain HTTP: `redirect-to-https`, `https-only` or `allow-all`."""
    compresses: bool
    least_cached_s: int = 0
    """How long it keeps each answer at least, whatever the answer says; 0 where a cache policy decides."""
    policy_keeps_s: tuple[int, int] = (0, 0)
    """`least_cached_s` and `usually_cached_s` of its cache policy, if that is one of AWS's own; no others are read."""
    usually_cached_s: int = 0
    """How long it keeps an answer without Cache-Control."""
    shared: bool = True
    """Users get each other's answers: neither their cookies nor their Authorization header tell copies apart."""
    origins: tuple[Origin, ...] = ()
    """The origins that it fetches from: one, or the members of an origin group, of which the first is asked first."""
    rewrites: bool = False
    """A function runs for each viewer request, before the cache."""
    of_bucket: bool = True
    """Its origin is a bucket of S3."""
    signed: bool = False
    """It answers 403 to every request without a signed URL or a signed cookie."""


class Distribution(Observation):
    """A CloudFront distribution."""

    id: str
    arn: str
    domain_name: str
    status: str
    enabled: bool
    aliases: tuple[str, ...]
    certificate: str | None = None
    root_object: str | None = None
    errors: tuple[ErrorResponse, ...] = ()
    behaviors: tuple[Behavior, ...] = ()
    """The default behavior, `*`, then the behaviors for other paths."""
    restricts: str = "none"
    """The geographic restriction: `none`, `whitelist` or `blacklist`."""
    countries: tuple[str, ...] = ()
    """The countries that the restriction lists."""
    web_acl: str | None = None
    """The ARN of the web ACL (AWS WAF) that judges each request."""
    tls_policy: str | None = None
    """The policy that sets the oldest TLS version and the ciphers, for example `TLSv1.2_2021`."""

    def taking(self, path: str) -> Behavior:
        """The behaviour for a path: the first with a pattern that fits, else the default one, which stands first."""
        default, *others = self.behaviors
        return next((b for b in others if fnmatchcase(path.lstrip("/"), b.path.lstrip("/"))), default)

    def serving_page(self, frontend: Frontend) -> Behavior:
        """The behaviour that serves the index page of a frontend."""
        return self.taking(frontend.index_path)


class Invalidations(Observation):
    """The invalidations of a distribution's cache."""

    distribution: str
    newest: datetime | None = None
    """When the newest one was requested; None if there is none."""
    running: tuple[str, ...] = ()
    """The ids of the invalidations that have not finished."""


class Listed(Observation):
    """A distribution, as far as the list of all distributions tells."""

    id: str
    aliases: tuple[str, ...]

    def serves(self, environment: Environment) -> bool:
        """Whether it has an alias for a frontend of an environment."""
        return any(_covers(alias, f.host) for alias in self.aliases for f in environment.frontends.values())


@probe(deadline=40)
async def listed_distributions(observer: Observer) -> tuple[Listed, ...]:
    """The distributions of the account that serve a frontend of the environment or of its counterpart. One call for
    each hundred of the account.
    """
    return await _listed(observer)


async def _listed(observer: Observer, part: Part | None = None) -> tuple[Listed, ...]:
    """Staging distributions of a continuous deployment are left out: no host name leads to them."""
    answer = await observer.aws.call(observer, "cloudfront", "list_distributions", part=part)
    items = [item for item in _items(answer["DistributionList"]) if not item.get("Staging")]
    every = [Listed(id=item["Id"], aliases=_aliases(item)) for item in items]
    both = [e for e in (observer.environment, observer.environment.other) if e is not None]
    return tuple(each for each in every if any(map(each.serves, both)))


@probe(deadline=40)
async def distributions(observer: Observer) -> tuple[Distribution, ...]:
    """The distributions that serve a frontend of this environment, with all of their settings."""
    return await described_distributions(observer, observer.environment)


@probe(deadline=40)
async def other_distributions(observer: Observer) -> tuple[Distribution, ...]:
    """The distributions that serve a frontend of the counterpart."""
    other = observer.environment.other
    assert other is not None, "asked only of environments with a counterpart"
    return await described_distributions(observer, other, part="counterpart")


async def described_distributions(
    observer: Observer, environment: Environment, part: Part | None = None
) -> tuple[Distribution, ...]:
    """Describes those of the account's distributions in full that have an alias for one of the hosts. One call each."""
    elsewhere = part is not None and observer.aws.account(part) is not None
    known = await _listed(observer, part) if elsewhere else await observer.see(listed_distributions)
    found = await asyncio.gather(
        *[
            observer.aws.call(observer, "cloudfront", "get_distribution", part=part, Id=each.id)
            for each in known
            if each.serves(environment)
        ]
    )
    return tuple(_distribution(f["Distribution"]) for f in found)


def serving(distributions: Sequence[Distribution], host: str) -> Distribution | None:
    """The distribution that serves a host. CloudFront prefers the exact name, then the longest wildcard."""
    fitting = [(alias, d) for d in distributions for alias in d.aliases if _covers(alias, host)]
    return max(fitting, key=lambda pair: (pair[0] == host, len(pair[0])))[1] if fitting else None


def _covers(alias: str, host: str) -> bool:
    """Whether an alias (a name, or a wildcard `*.name`) covers a host."""
    alias = alias.lower()
    return alias == host or (alias.startswith("*.") and host.endswith(alias[1:]))


@probe()
async def distribution(observer: Observer, frontend: Frontend) -> Distribution:
    """The distribution that serves a frontend's host."""
    all_ = await observer.see(distributions)
    found = serving(all_, frontend.host)
    if found is None:
        raise unknown("not-found", phrase("no CloudFront distribution has the alias {}", frontend.host))
    return found


@probe(deadline=20)
async def invalidations(observer: Observer, frontend: Frontend) -> Invalidations:
    """The newest invalidations of the distribution that serves a frontend's host."""
    served_by = await observer.see(distribution, frontend)
    answer = await observer.aws.call(
        observer,
        "cloudfront",
        "list_invalidations",
        DistributionId=served_by.id,
        PaginationConfig={"MaxItems": _NEWEST_INVALIDATIONS},  # CloudFront lists the newest first
    )
    items = _items(answer["InvalidationList"])
    return Invalidations(
        distribution=served_by.id,
        newest=max((item["CreateTime"] for item in items), default=None),
        running=tuple(item["Id"] for item in items if _status(item) != "completed"),
    )


def _status(invalidation: dict[str, Any]) -> str:
    what = phrase("the status of the invalidation {}", invalidation["Id"])
    return one_of(_INVALIDATION, invalidation["Status"].lower(), what)


def _distribution(described: dict[str, Any]) -> Distribution:
    config = described["DistributionConfig"]
    return Distribution(
        id=described["Id"],
        arn=described["ARN"],
        domain_name=described["DomainName"],
        status=described["Status"],
        enabled=config["Enabled"],
        aliases=_aliases(config),
        certificate=config["ViewerCertificate"].get("ACMCertificateArn"),
        root_object=config.get("DefaultRootObject") or None,
        errors=tuple(map(_error_response, _items(config["CustomErrorResponses"]))),
        behaviors=tuple(
            _behavior(behavior, config)
            for behavior in (config["DefaultCacheBehavior"], *_items(config["CacheBehaviors"]))
        ),
        restricts=(restriction := config["Restrictions"]["GeoRestriction"])["RestrictionType"],
        countries=tuple(sorted(map(str, _items(restriction)))),
        web_acl=config["WebACLId"] or None,
        tls_policy=config["ViewerCertificate"].get("MinimumProtocolVersion"),
    )


_DEFAULT_TTL_S = 86_400
"""How long a behaviour without a policy keeps an answer without Cache-Control, if it does not say so itself."""
_MANAGED = {
    "658327ea-f89d-4fab-a63d-7e88639e58f6": (1, 86_400),  # CachingOptimized
    "b2884449-e4de-46a7-ac36-70bc7f1ddd6d": (1, 86_400),  # CachingOptimizedForUncompressedObjects
    "08627262-05a9-4f76-9ded-b50ca2e3a84f": (0, 86_400),  # Elemental-MediaPackage
}
"""AWS's own cache policies that keep answers: (minimum TTL, default TTL), from CloudFront's developer guide. They tell
no users apart."""


def _behavior(described: dict[str, Any], config: dict[str, Any]) -> Behavior:
    policy = described.get("CachePolicyId")
    least, usual = int(described.get("MinTTL") or 0), int(described.get("DefaultTTL", _DEFAULT_TTL_S))
    origins = _origins_of(described, config)
    return Behavior(
        path=described.get("PathPattern", "*"),
        origins=tuple(map(_origin, origins)),
        rewrites=_rewrites(described),
        viewers=described.get("ViewerProtocolPolicy"),
        compresses=described["Compress"],
        signed=any(
            described[signers]["Enabled"]
            for signers in ("TrustedSigners", "TrustedKeyGroups")
            if described.get(signers)
        ),
        least_cached_s=0 if policy else least,
        usually_cached_s=0 if policy else usual,
        shared=not _tells_users_apart(described.get("ForwardedValues")),
        of_bucket=all(o.get("S3OriginConfig") is not None for o in origins),
        policy_keeps_s=_MANAGED.get(str(policy), (0, 0)),
    )


def _tells_users_apart(forwarded: dict[str, Any] | None) -> bool:
    """Whether these settings, which a behaviour has in place of a policy, make cookies or a token a part of the key."""
    if not forwarded:
        return False
    headers = {str(name).lower() for name in _items(forwarded.get("Headers"))}
    return forwarded["Cookies"]["Forward"] == "all" or bool({"authorization", "*"} & headers)


def _aliases(described: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(map(str, _items(described["Aliases"]))))


def _items(listing: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The items of a list of CloudFront's. A list with the Quantity 0 has no field Items."""
    items: list[dict[str, Any]] = (listing or {}).get("Items") or []
    told = (listing or {}).get("Quantity", len(items))  # botocore drops it when it joins pages
    if told != len(items):
        raise unknown("too-little-data", phrase("CloudFront told {} of {} items of a list", len(items), told))
    return items


def _origins_of(behavior: dict[str, Any], config: dict[str, Any]) -> list[dict[str, Any]]:
    """The origins of a behaviour, as AWS describes them."""
    target = behavior["TargetOriginId"]
    groups = {g["Id"]: [m["OriginId"] for m in _items(g.get("Members"))] for g in _items(config.get("OriginGroups"))}
    wanted = groups.get(str(target), [target])
    known = {o["Id"]: o for o in _items(config["Origins"])}
    return [known[id_] for id_ in wanted if id_ in known]


def _origin(described: dict[str, Any]) -> Origin:
    identity = (described.get("S3OriginConfig") or {}).get("OriginAccessIdentity")
    return Origin(
        domain_name=described["DomainName"],
        access_control=described.get("OriginAccessControlId") or identity or None,
        path=described.get("OriginPath") or "",
    )


def _rewrites(behavior: dict[str, Any]) -> bool:
    functions = _items(behavior.get("FunctionAssociations")) + _items(behavior.get("LambdaFunctionAssociations"))
    what = phrase("the event of a function")
    return "viewer-request" in [one_of(_EVENTS, f["EventType"], what) for f in functions]


def _error_response(described: dict[str, Any]) -> ErrorResponse:
    return ErrorResponse(
        status=described["ErrorCode"],
        page=described.get("ResponsePagePath") or None,
        shown_as=int(described["ResponseCode"]) if described.get("ResponseCode") else None,
        cached_s=described.get("ErrorCachingMinTTL", _DEFAULT_ERROR_CACHING_S),
    )
