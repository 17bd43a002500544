"""Route 53, ACM and CloudFront: the path of a user to this environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gli.common.clock import rfc3339
from gli.common.partitions import domain_of
from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import one_of, told, unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.services import Frontend
    from gli.observe.aws.acm import AcmCertificate
    from gli.observe.aws.cloudfront import Distribution, Invalidations
    from gli.observe.aws.route53 import Zone
    from gli.observe.aws.s3 import IndexObject
    from gli.observe.edge.http import HttpExchange

LEAST_DAYS = 30
_RENEWAL = frozenset({"PENDING_AUTO_RENEWAL", "PENDING_VALIDATION", "SUCCESS", "FAILED"})
_DISTRIBUTION = frozenset({"Deployed", "InProgress"})
_VIEWERS = frozenset({"allow-all", "https-only", "redirect-to-https"})
_TAKES_OLD_TLS = re.compile(
    r"SSLv3|TLSv1(_2016|\.1_2016)?|ELBSecurityPolicy-(20\d\d-\d\d|TLS(13)?-1-[01]-.+|FS-(2018-06|1-1-.+))"
)
_BUCKET = re.compile(r"[\w.-]+\.s3\.(?:[a-z]{2}(?:-[a-z]+)+-\d\.)?amazonaws\.com(?:\.cn)?")
"""An S3 bucket as an origin. The website of a bucket (`.s3-website`) takes no identity."""
_AMAZON = frozenset({"amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"})
"""Each of these names in a CAA record lets ACM issue, by ACM's user guide."""
_REFUSES_OLD_TLS = re.compile(r"TLSv1\.[23]_\d{4}|ELBSecurityPolicy-(TLS13-1-[23]|TLS-1-2|FS-1-2)-.+")
LONGEST_ERROR_S = 10
LONGEST_PAGE_S = 60


def test_dns_alias_target(zone: Zone, alias_targets: Mapping[str, str | None], target: str) -> None:
    """All records of the host lead to this environment's present load balancer or distribution, for
    users everywhere.
    """
    wanted, found = alias_targets.get(target), zone.targets(target)
    assert wanted is not None, saw(
        phrase("no load balancer or distribution"), expected=phrase("something that serves {}", target)
    )
    assert found == (wanted,), saw(
        listed(found) if found else phrase("no record"), expected=phrase("{} to lead to {} alone", target, wanted)
    )
    assert target not in zone.somewhere, saw(
        phrase("records for some places alone"), expected=phrase("a record of {} for users everywhere else", target)
    )


def test_dns_env_not_crossed(
    zone: Zone, alias_targets: Mapping[str, str | None], further_names: Sequence[str], environment: Environment
) -> None:
    """No host of another environment shares a target with this one, and no host of this environment
    points elsewhere. A name that this environment's distribution or load balancer serves beside its hosts, such as
    `www`, is its own, unless the counterpart has it.
    """
    own = {t: host for host, t in alias_targets.items() if t}
    others = {*environment.other.hosts} if environment.other else set()
    names = {
        n for n in {*zone.aliases, *zone.values} - {*environment.hosts} if n in others or not _named(n, further_names)
    }
    foreign = {points_at: name for name in sorted(names) for points_at in zone.targets(name)}
    crossed = [
        phrase("{} points at {}, which serves {}", foreign[t], t, own[t]) for t in sorted(foreign.keys() & own.keys())
    ]
    crossed += [
        phrase("{} points at {}, which serves {}", host, points_at, foreign[points_at])
        for host in environment.hosts
        for points_at in zone.targets(host)
        if points_at in foreign and points_at not in own
    ]
    assert not crossed, saw(listed(crossed), expected=phrase("targets of their own for each environment"))


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def test_dns_no_dangling(lost_targets: Mapping[str, str], zone: Zone) -> None:
    """No record leads to a load balancer, a distribution or a bucket that is gone: a stranger may take its name over.

    Records of the environment's own hosts are judged by another check.
    """
    lost = [phrase("{} leads to {}, which is gone", name, target) for name, target in sorted(lost_targets.items())]
    assert not lost, saw(listed(lost), expected=phrase("records of {} that lead to something", zone.name))


def test_dns_delegated(zone: Zone, name_servers: frozenset[str], environment: Environment) -> None:
    """The parent zone delegates to this hosted zone alone: records of another one of the same name reach nobody, or
    those alone who happen to ask its server. No NS record of this zone gives a host away to others.

    Where a private zone has the same name, a resolver in its network answers for that one, and is not judged.
    """
    given_away = {n: s for n, s in zone.delegated.items() for h in environment.hosts if f".{h}".endswith(f".{n}")}
    assert not given_away, saw(
        listed(phrase("{} delegated to {}", n, listed(servers)) for n, servers in given_away.items()),
        expected=phrase("{} to be answered by {}", listed(environment.hosts), zone.name),
    )
    if zone.private_twin:
        return
    if not zone.servers:
        raise unknown("too-little-data", phrase("Route 53 names no server of {}", zone.name))
    strangers = name_servers - {*zone.servers}
    assert name_servers and not strangers, saw(
        listed(sorted(strangers)), expected=phrase("{} to be answered by {}", zone.name, listed(zone.servers))
    )


def test_dns_caa_allows_acm(zone: Zone, certificates: Sequence[AcmCertificate], environment: Environment) -> None:
    """No CAA record forbids Amazon to issue and renew the certificates that it issued for our hosts (RFC 8659).

    Every name of a certificate counts, wildcards too: ACM renews all or none.
    """
    ours = {n for c in certificates if c.by_amazon for n in c.names}
    hosts = [h for h in environment.secure_hosts if h in ours or "*." + h.partition(".")[2] in ours]
    names = sorted({*hosts, *(n for n in ours if _within(n, zone))})
    forbidden = [n for n in names if not _amazon_may_issue(zone.authorities_of(n.removeprefix("*.")), n)]
    assert not forbidden, saw(
        listed(phrase("{} with {}", n, listed(zone.authorities_of(n.removeprefix("*.")))) for n in forbidden),
        expected=phrase("amazon.com among the authorities for our hosts"),
    )


def _amazon_may_issue(records: Sequence[str], name: str) -> bool:
    """Whether CAA records (`0 issue "amazon.com"`) let Amazon issue: by name, or because none restricts issuing.

    For a wildcard name, `issuewild` counts instead of `issue` where there is any (RFC 8659, 4.3).
    """
    tagged = [(tag.lower(), value) for tag, value in (r.split(maxsplit=2)[1:3] for r in records)]
    wild = [value for tag, value in tagged if tag == "issuewild" and name.startswith("*.")]
    issuing = wild or [value for tag, value in tagged if tag == "issue"]
    named = {value.strip('"').partition(";")[0].strip().lower() for value in issuing}
    return not issuing or bool(named & _AMAZON)


def test_acm_certificate_valid(certificates: Sequence[AcmCertificate]) -> None:
    """Every certificate that the edge uses is issued, logged, renews itself and is valid for 30 more days."""
    assert certificates, saw(
        phrase("none"), expected=phrase("a certificate on the load balancer and on each distribution")
    )
    for each in certificates:
        assert each.status == "ISSUED", saw(each.status, expected=phrase("{} to be ISSUED", each.arn))
        if each.renewal is not None:
            one_of(_RENEWAL, each.renewal, phrase("the renewal of {}", each.arn))
        assert each.renewal not in ("FAILED", "PENDING_VALIDATION"), saw(
            phrase("renewal {}", each.renewal), expected=phrase("{} to renew itself", each.arn)
        )
        assert each.logged or not each.by_amazon, saw(
            phrase("Certificate Transparency logging off"), expected=phrase("browsers to accept {}", each.arn)
        )
        assert each.days_left is not None and each.days_left >= LEAST_DAYS, saw(
            each.days_left, expected=phrase("at least {} days left on {}", LEAST_DAYS, each.arn)
        )


def test_acm_validation_record(certificates: Sequence[AcmCertificate], zone: Zone) -> None:
    """The records that ACM needs for renewal are still in the zone: without them a certificate ends unnoticed."""
    wanted = {name: value for each in certificates for name, value in each.validation.items() if _within(name, zone)}
    found = {name: zone.values.get(name, ()) for name in wanted}
    lost = [phrase("{} as {}", name, listed(found[name])) for name in wanted if wanted[name] not in found[name]]
    assert not lost, saw(listed(lost), expected=phrase("the validation records of the certificates in {}", zone.name))


def test_tls_min_version(tls_policies: Mapping[str, str | None], target: str) -> None:
    """TLS 1.0 and 1.1 are refused: by the listener's security policy, or the distribution's."""
    if target not in tls_policies:
        raise unknown("vantage", phrase("the load balancer of {} passes TLS through to what stands behind it", target))
    policy = tls_policies[target]
    refuses = policy is not None and _REFUSES_OLD_TLS.fullmatch(policy) is not None
    if policy is not None and not refuses and not _TAKES_OLD_TLS.fullmatch(policy):
        raise unknown("error", phrase("{} has the policy {}, which this suite does not know", target, policy))
    assert refuses, saw(
        policy or phrase("none"), expected=phrase("a policy for {} that takes TLS 1.2 and later", target)
    )


def test_cdn_asks_for_the_page(distribution: Distribution, target: Frontend) -> None:
    """The CDN keeps the page no longer than its Cache-Control says: a minimum TTL wins over no-cache."""
    kept_s = distribution.serving_page(target).least_cached_s
    assert kept_s <= LONGEST_PAGE_S, saw(
        phrase("a minimum TTL of {} s", kept_s),
        expected=phrase("the page to be kept for {} s at most, whatever its header says", LONGEST_PAGE_S),
    )


def test_cdn_keeps_no_user(shared_answers: Sequence[str], target: Frontend) -> None:
    """The CDN gives no user the answer that the API made for another one: it keeps none of those."""
    assert not shared_answers, saw(
        phrase("kept: {}", listed(shared_answers)),
        expected=phrase("{} not to keep the API's answers for one user", target.host),
    )


def test_cdn_deployed(distribution: Distribution, target: Frontend) -> None:
    """The distribution is enabled and its configuration has reached every edge."""
    assert distribution.enabled, saw(
        phrase("disabled"), expected=phrase("the distribution {} of {} enabled", distribution.id, target.host)
    )
    one_of(_DISTRIBUTION, distribution.status, phrase("the status of {}", distribution.id))
    assert distribution.status == "Deployed", saw(distribution.status, expected=phrase("{} Deployed", distribution.id))


def test_cdn_origin_oac(distribution: Distribution, environment: Environment, target: Frontend) -> None:
    """The distribution reads the private bucket with an identity of its own, not a website that anybody may read, and
    looks for the page where the deploy puts it. An origin group may fall back on another bucket, read in the same way.
    """
    assert environment.aws is not None
    region, domain = environment.aws.region, domain_of(environment.aws.region)
    rest = {f"{target.bucket}.s3.{region}.{domain}", f"{target.bucket}.s3.{domain}"}
    origins = distribution.serving_page(target).origins
    strangers = [o.domain_name for o in origins[:1] if o.domain_name not in rest]
    strangers += [o.domain_name for o in origins[1:] if not _BUCKET.fullmatch(o.domain_name)]
    expected = phrase("{} to read {}", distribution.id, sorted(rest)[-1])
    assert origins and not strangers, saw(listed(strangers), expected=expected)
    open_ = [o.domain_name for o in origins if not o.access_control]
    assert not open_, saw(phrase("no origin access control"), expected=phrase("{} through one", expected))
    folders = {target.origin_path, target.origin_path.removesuffix(target.path_of("")), ""}  # "": a function adds it
    others = [o.path for o in origins if o.path not in folders]
    assert not others, saw(
        phrase("the folder {}", listed(others)),
        expected=phrase("{} to read {}", distribution.id, f"{target.bucket}/{target.index_key}"),
    )
    at_the_root = target.index_path == "/index.html"  # CloudFront has a root object for `/` alone
    assert not at_the_root or distribution.root_object == "index.html", saw(
        distribution.root_object or phrase("none"),
        expected=phrase("index.html as the root object of {}", distribution.id),
    )


def test_cdn_error_mapping(distribution: Distribution, target: Frontend) -> None:
    """Routes lead to the page, by a function or by mapping 403 and 404, and errors are cached for seconds only."""
    page, rewrites = target.index_path, distribution.serving_page(target).rewrites
    to_the_page = {e.status for e in distribution.errors if (e.page, e.shown_as) == (page, 200)}
    assert rewrites or {403, 404} <= to_the_page, saw(
        listed(phrase("{} mapped", status) for status in sorted(to_the_page)),
        expected=phrase("a viewer-request function on {}, or 403 and 404 mapped to {}", distribution.id, page),
    )
    kept = [
        phrase("{} kept for {} s", e.status, e.cached_s) for e in distribution.errors if e.cached_s > LONGEST_ERROR_S
    ]
    assert not kept, saw(
        listed(kept), expected=phrase("errors of {} kept for {} s at most", distribution.id, LONGEST_ERROR_S)
    )


def test_cdn_invalidation_complete(invalidations: Invalidations, index_object: IndexObject) -> None:
    """After the upload the deploy told CloudFront to forget the page, and every edge has done so."""
    which = invalidations.distribution
    assert not invalidations.running, saw(
        phrase("{} in progress", listed(invalidations.running)),
        expected=phrase("every invalidation of {} completed", which),
    )
    assert invalidations.newest is not None, saw(phrase("none"), expected=phrase("an invalidation of {}", which))
    uploaded, newest = index_object.modified, invalidations.newest
    assert uploaded is None or newest >= uploaded, saw(
        phrase(
            "index.html uploaded at {}, and the newest invalidation at {}", rfc3339(uploaded or newest), rfc3339(newest)
        ),
        expected=phrase("an invalidation of {} after the upload", which),
    )


def test_cdn_aliases_and_cert(
    distribution: Distribution, certificates: Sequence[AcmCertificate], target: Frontend
) -> None:
    """The distribution's certificate covers the host that it serves."""
    own = [c for c in certificates if c.arn == distribution.certificate]
    assert own, saw(
        distribution.certificate or phrase("CloudFront's default"),
        expected=phrase("an ACM certificate for {}", target.host),
    )
    wildcard = "*." + target.host.partition(".")[2]
    assert {target.host, wildcard} & set(own[0].names), saw(
        listed(own[0].names), expected=phrase("a name for {}", target.host)
    )


def test_cdn_lets_users_in(distribution: Distribution, landing: HttpExchange, target: Frontend) -> None:
    """Neither signed URLs nor a geographic restriction nor a web ACL keeps users out: CloudFront answers them 403."""
    assert not distribution.serving_page(target).signed, saw(
        phrase("signed URLs alone"), expected=phrase("the page of {} for everybody who asks", target.host)
    )
    listed_there = set(distribution.countries)
    if distribution.restricts == "whitelist":
        kept_out = sorted(set(target.countries) - listed_there) if target.countries else [phrase("all others")]
    else:
        kept_out = sorted(set(target.countries) & listed_there) if distribution.restricts == "blacklist" else []
    assert not kept_out, saw(
        phrase("a {} of {}", distribution.restricts, listed(distribution.countries)),
        expected=phrase("users of {} in {} to be let in", target.host, listed(kept_out)),
    )
    if distribution.web_acl is None:
        return
    assert landing.status is not None, saw(landing.seen, expected=phrase("an answer of {}", landing.url))
    assert landing.status != 403, saw(
        phrase("403, and the web ACL {}", str(distribution.web_acl).rpartition("webacl/")[2]),
        expected=phrase("an answer of {}", landing.url),
    )


def test_cdn_viewer_https(distribution: Distribution, target: Frontend) -> None:
    """The distribution serves every path over HTTPS only, and compresses what it serves."""
    for each in distribution.behaviors:
        what = phrase("the viewer protocol policy for {}", each.path)
        one_of(_VIEWERS, told(each.viewers, what), what)
    plain = [
        phrase("{} for {}", each.viewers, each.path)
        for each in distribution.behaviors
        if each.viewers not in ("redirect-to-https", "https-only")
    ]
    assert distribution.behaviors and not plain, saw(
        listed(plain), expected=phrase("viewers of {} to be redirected to HTTPS", target.host)
    )
    whole = [each.path for each in distribution.behaviors if not each.compresses]
    assert not whole, saw(
        phrase("no compression of {}", listed(whole)), expected=phrase("{} to compress", distribution.id)
    )


def _within(name: str, zone: Zone) -> bool:
    return name == zone.name or name.endswith(f".{zone.name}")
