"""Route 53, ACM and CloudFront: what leads a user to this environment."""

from collections.abc import Mapping, Sequence

from gli.environments import Environment, Frontend
from gli.observe.aws.edge import AcmCertificate, Distribution, Zone
from gli.saying import listed, saw

LEAST_DAYS = 30


def test_dns_alias_target(zone: Zone, alias_targets: Mapping[str, str | None], target: str) -> None:
    """The host's record is an alias of this environment's load balancer or distribution as it is now."""
    wanted, found = alias_targets.get(target), zone.aliases.get(target)
    assert wanted is not None, saw("no load balancer or distribution", expected=f"something that serves {target}")
    assert found == wanted, saw(found or "no alias record", expected=f"{target} to be an alias of {wanted}")


def test_dns_env_not_crossed(zone: Zone, alias_targets: Mapping[str, str | None], environment: Environment) -> None:
    """No host of another environment shares a target with this one's, and no host of this one points elsewhere."""
    own = {t: host for host, t in alias_targets.items() if t}
    crossed = [
        f"{name} points at {points_at}, which serves {own[points_at]}"
        for name, points_at in sorted(zone.aliases.items())
        if points_at in own and name not in environment.hosts
    ]
    foreign = {points_at: name for name, points_at in zone.aliases.items() if name not in environment.hosts}
    crossed += [
        f"{host} points at {found}, which serves {foreign[found]}"
        for host in environment.hosts
        if (found := zone.aliases.get(host)) in foreign and found not in own
    ]
    assert not crossed, saw(listed(crossed), expected="targets of their own for each environment")


def test_acm_certificate_valid(certificates: Sequence[AcmCertificate]) -> None:
    """Every certificate that the edge uses is issued, renews itself and lasts for 30 days more."""
    assert certificates, saw("none", expected="a certificate on the load balancer and on each distribution")
    for each in certificates:
        assert each.status == "ISSUED", saw(each.status, expected=f"{each.arn} to be ISSUED")
        assert each.renewal not in ("FAILED", "PENDING_VALIDATION"), saw(
            f"renewal {each.renewal}", expected=f"{each.arn} to renew itself"
        )
        assert each.days_left is not None and each.days_left >= LEAST_DAYS, saw(
            f"{each.days_left}", expected=f"at least {LEAST_DAYS} days left on {each.arn}"
        )


def test_cdn_deployed(distribution: Distribution, target: Frontend) -> None:
    """The distribution is enabled and its configuration has reached every edge."""
    assert distribution.enabled, saw(
        "disabled", expected=f"the distribution {distribution.id} of {target.host} enabled"
    )
    assert distribution.status == "Deployed", saw(distribution.status, expected=f"{distribution.id} Deployed")


def test_cdn_aliases_and_cert(
    distribution: Distribution, certificates: Sequence[AcmCertificate], target: Frontend
) -> None:
    """The distribution's certificate covers the host that it serves."""
    own = [c for c in certificates if c.arn == distribution.certificate]
    assert own, saw(
        distribution.certificate or "CloudFront's default", expected=f"an ACM certificate for {target.host}"
    )
    wildcard = "*." + target.host.partition(".")[2]
    assert {target.host, wildcard} & set(own[0].names), saw(listed(own[0].names), expected=f"a name for {target.host}")
