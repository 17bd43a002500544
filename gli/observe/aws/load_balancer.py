"""The load balancer: its state, its listeners and rules, and the health of its targets.

Source of truth: elbv2 DescribeLoadBalancers, DescribeLoadBalancerAttributes, DescribeListeners, DescribeRules,
DescribeTargetGroups, DescribeTargetGroupAttributes, DescribeTargetHealth.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import Any
from urllib.parse import urlsplit

from gli.common.sentences import listed, phrase
from gli.config.services import LoadBalancer, Service
from gli.observe.aws.ecs_services import ecs_service, ecs_services
from gli.observe.engine.aws_session import AwsError, Part
from gli.observe.engine.observation import Observation, one_of, unknown
from gli.observe.engine.probe import Observer, probe

TARGET_STATES = frozenset(
    {"initial", "healthy", "unhealthy", "unhealthy.draining", "unused", "draining", "unavailable"}
)
"""The states of elbv2 DescribeTargetHealth."""
ACTIONS = frozenset(
    {"forward", "redirect", "fixed-response", "authenticate-oidc", "authenticate-cognito", "jwt-validation", "nothing"}
)
"""What a rule may do with a request."""
_PROTOCOLS = frozenset(
    {"HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP", "GENEVE", "QUIC", "TCP_QUIC"}  # of every kind of load balancer
)
_WITH_TLS = frozenset({"HTTPS", "TLS"})
_GROUPS_PER_CALL = 100  # one page of DescribeTargetGroups, which has no second page for given ARNs


class Rule(Observation):
    """One rule of a listener: the requests that it matches, and the targets that get them."""

    hosts: tuple[str, ...] | None = None
    """Patterns (`*`, `?`) for the host; a pattern that begins with `~` is a regular expression. None: any host."""
    paths: tuple[str, ...] | None = None
    """Patterns for the path, in the same form; None: any path."""
    methods: tuple[str, ...] | None = None
    special: bool = False
    """The rule also needs a header, a query or an address that no ordinary user has."""
    strange: tuple[str, ...] = ()
    """The kinds of its conditions that this suite does not know: whether an ordinary user meets them is not known."""
    groups: tuple[str, ...] = ()
    """The ARNs of the target groups that it forwards to, without those of weight 0."""
    does: str = "forward"
    """The type of its last action: `forward`, `redirect`, `fixed-response`."""
    authenticates: bool = False
    """The balancer itself sends a visitor to a login page first (OIDC or Cognito)."""

    def takes(self, host: str, path: str, method: str = "GET") -> bool:
        """Whether the rule matches an ordinary user's request for this host and path.

        Raises `Unobserved` if that depends on a condition that this suite does not know.
        """
        taken = (
            not self.special
            and (self.methods is None or method in self.methods)
            and (self.hosts is None or any(_matches(p, host.lower(), folded=True) for p in self.hosts))
            and (self.paths is None or any(_matches(p, path) for p in self.paths))
        )
        if taken and self.strange:
            what = listed(self.strange)
            raise unknown("error", phrase("a rule for {} has the condition {}, not known here", host, what))
        return taken


class Listener(Observation):
    """One listener of a load balancer."""

    arn: str = ""
    port: int
    protocol: str
    certificates: tuple[str, ...] = ()
    policy: str | None = None
    asks_clients: bool = False
    """It refuses clients without a certificate of their own (mutual TLS, mode `verify`)."""
    redirects_to: str | None = None
    """`HTTPS HTTP_301` if the default action redirects."""
    rules: tuple[Rule, ...] = ()
    """The rules of an HTTPS listener, in the order in which the balancer tries them. The default rule is the last."""


class Balancer(Observation):
    """A load balancer. `state` is `missing` if AWS has none of this name."""

    name: str
    state: str
    type: str = "application"
    arn: str | None = None
    dns_name: str | None = None
    vpc: str | None = None
    zones: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    public: bool = True
    """Whether it faces the internet."""
    dual_stack: bool = False
    """Whether it has IPv6 addresses too."""
    security_groups: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()


class BalancerAttributes(Observation):
    """A load balancer's idle timeout, and its protection against deletion."""

    name: str
    idle_timeout_s: int | None
    """None of a network load balancer: each of its listeners has its own, of 60 s at the least."""
    deletion_protection: bool
    removes_clients: bool = False
    """It takes the header X-Forwarded-For out of each request: the application never learns a user's address."""


class HealthCheck(Observation):
    """The health check of a target group."""

    group: str
    path: str | None
    port: str = "traffic-port"
    """The port that it asks; `traffic-port` is that of the requests."""
    protocol: str
    """HTTP, HTTPS or TCP."""
    requests_by: str
    """The protocol of the requests that the group passes on: HTTP, HTTPS, or a network load balancer's."""
    codes: str | None
    """The HTTP statuses that count as healthy: `200`, `200,204`, `200-299`."""
    interval_s: int
    threshold: int
    """The number of good answers in a row after which a target is healthy."""
    failures: int = 2
    """The number of failures in a row after which it is unhealthy."""

    @property
    def wants_success(self) -> bool:
        """Whether 200 counts as healthy, and no status outside 2xx does."""
        ranges = [tuple(map(int, part.split("-"))) for part in re.findall(r"\d{3}(?:-\d{3})?", self.codes or "")]
        return any(r[0] <= 200 <= r[-1] for r in ranges) and all(r[0] >= 200 and r[-1] <= 299 for r in ranges)

    @property
    def healthy_after_s(self) -> int:
        """The shortest time, in seconds, until a new target is healthy."""
        return self.interval_s * self.threshold

    @property
    def unhealthy_after_s(self) -> int:
        """The longest time, in seconds, for which a target that fails still gets requests."""
        return self.interval_s * self.failures


class GroupSettings(Observation):
    """How a target group treats targets that leave it, and unhealthy ones."""

    draining_s: int
    """Seconds for the last requests of a target that leaves."""
    least_healthy: int = 1
    """With fewer healthy targets it sends requests to the unhealthy ones too; 0: never."""
    least_healthy_percent: int = 0
    """The same, in percent of its targets; 0: never."""

    def trusts_the_sick(self, targets: int) -> bool:
        """Whether one unhealthy target of so many is enough for unhealthy targets to get requests."""
        wanted = max(self.least_healthy, math.ceil(targets * self.least_healthy_percent / 100))
        return wanted > 1 and wanted >= targets


class Target(Observation):
    """One registered target and its health."""

    id: str
    state: str
    reason: str | None = None
    description: str | None = None
    group: str = ""
    """The ARN of the target group that it is registered in."""

    @property
    def leaving(self) -> bool:
        """Whether the target is draining: it finishes its requests and gets no new ones."""
        return self.state in ("draining", "unhealthy.draining")


class TargetGroupHealth(Observation):
    """The targets behind one service."""

    targets: tuple[Target, ...]


@probe(deadline=15)
async def balancer(observer: Observer, load_balancer: LoadBalancer) -> Balancer:
    """The load balancer with its listeners. Only HTTPS listeners have their rules, and none of the counterpart's, which
    no check reads; of a network load balancer each listener has one, its default action.
    """
    environment = observer.environment
    own = environment.other is None or load_balancer in environment.balancers.values()
    part: Part | None = None if own else "counterpart"
    try:
        answer = await observer.aws.call(
            observer, "elbv2", "describe_load_balancers", part=part, Names=[load_balancer.name]
        )
    except AwsError as e:
        if e.code.startswith("LoadBalancerNotFound"):
            return Balancer(name=load_balancer.name, state="missing")
        raise
    described = next((lb for lb in answer["LoadBalancers"] if lb["LoadBalancerName"] == load_balancer.name), None)
    if described is None:
        return Balancer(name=load_balancer.name, state="missing")
    arn = described["LoadBalancerArn"]
    answer = await observer.aws.call(observer, "elbv2", "describe_listeners", part=part, LoadBalancerArn=arn)
    listeners = answer["Listeners"]
    return Balancer(
        name=load_balancer.name,
        state=described["State"]["Code"],
        type=described.get("Type") or "untold",
        arn=arn,
        dns_name=described["DNSName"],
        vpc=described.get("VpcId"),
        zones=tuple(sorted(z["ZoneName"] for z in described["AvailabilityZones"])),
        subnets=tuple(sorted(z["SubnetId"] for z in described["AvailabilityZones"] if z.get("SubnetId"))),
        public=described.get("Scheme") != "internal",
        dual_stack=str(described.get("IpAddressType")).startswith("dualstack"),
        security_groups=tuple(sorted(described.get("SecurityGroups", []))),
        listeners=tuple(await asyncio.gather(*[_listener(observer, each, part) for each in listeners])),
    )


@probe()
async def routes(observer: Observer) -> dict[str, Rule]:
    """Service to the rule that matches a user's request for its health path. A service without such a rule is left out.

    As in the balancer, the first matching rule by priority decides (elbv2 DescribeRules).
    """
    found: dict[str, Rule] = {}
    for service in observer.environment.services.values():
        if service.load_balancer is None:
            continue
        listeners = (await observer.see(balancer, service.load_balancer)).listeners
        rules = [r for x in listeners if x.port == service.port for r in x.rules]
        path = urlsplit(service.url).path if service.websocket else service.path_of(service.health_path)
        taken = next((r for r in rules if r.takes(service.host, path)), None)
        if taken is not None:
            found[service.name] = taken
    return found


@probe(deadline=15)
async def target_health(observer: Observer, service: Service) -> TargetGroupHealth:
    """The health of every target in the groups that serve the service."""
    described = await observer.see(ecs_service, service)
    if not described.serving_groups:
        raise unknown("not-found", phrase("{} registers in no target group", described.name))
    targets: list[Target] = []
    for arn in described.serving_groups:
        targets += await group_targets(observer, arn)
    return TargetGroupHealth(targets=tuple(targets))


async def group_targets(observer: Observer, arn: str) -> tuple[Target, ...]:
    """Asks for the targets of one target group."""
    answer = await observer.aws.call(observer, "elbv2", "describe_target_health", TargetGroupArn=arn)
    return tuple(_target(t, arn) for t in answer["TargetHealthDescriptions"])


@probe(deadline=15)
async def balancer_attributes(observer: Observer, load_balancer: LoadBalancer) -> BalancerAttributes:
    """The load balancer's attributes."""
    arn = (await observer.see(balancer, load_balancer)).arn
    if arn is None:
        raise unknown("not-found", phrase("there is no load balancer {}", load_balancer.name))
    answer = await observer.aws.call(observer, "elbv2", "describe_load_balancer_attributes", LoadBalancerArn=arn)
    values = {a["Key"]: a["Value"] for a in answer["Attributes"]}
    return BalancerAttributes(
        name=load_balancer.name,
        idle_timeout_s=int(values.get("idle_timeout.timeout_seconds", 60)) if load_balancer.application else None,
        deletion_protection=values.get("deletion_protection.enabled") == "true",
        removes_clients=values.get("routing.http.xff_header_processing.mode") == "remove",
    )


@probe(deadline=15)
async def health_checks(observer: Observer) -> dict[str, HealthCheck]:
    """Target group ARN to its health check, for every group of the environment's services. One call per 100 groups."""
    services = await observer.see(ecs_services)
    wanted = sorted({arn for service in services.values() for arn in service.target_groups})
    described: list[dict[str, Any]] = []
    for n in range(0, len(wanted), _GROUPS_PER_CALL):
        batch = wanted[n : n + _GROUPS_PER_CALL]
        answer = await observer.aws.call(observer, "elbv2", "describe_target_groups", TargetGroupArns=batch)
        described += answer["TargetGroups"]
    return {
        g["TargetGroupArn"]: HealthCheck(
            group=g["TargetGroupName"],
            path=g.get("HealthCheckPath"),
            port=g["HealthCheckPort"],
            protocol=g["HealthCheckProtocol"],
            requests_by=g["Protocol"],
            codes=(g.get("Matcher") or {}).get("HttpCode"),
            interval_s=g["HealthCheckIntervalSeconds"],
            threshold=g["HealthyThresholdCount"],
            failures=g["UnhealthyThresholdCount"],
        )
        for g in described
    }


@probe(deadline=15)
async def group_settings(observer: Observer, service: Service) -> dict[str, GroupSettings]:
    """Target group that serves the service to its settings. One call for each group."""
    described = await observer.see(ecs_service, service)
    found = {}
    for arn in described.serving_groups:
        answer = await observer.aws.call(observer, "elbv2", "describe_target_group_attributes", TargetGroupArn=arn)
        values = {a["Key"]: a["Value"] for a in answer["Attributes"]}
        routing = "target_group_health.unhealthy_state_routing.minimum_healthy_targets"
        found[arn.split(":")[-1]] = GroupSettings(
            draining_s=int(values.get("deregistration_delay.timeout_seconds", 300)),
            least_healthy=_number(values.get(f"{routing}.count", "1")),
            least_healthy_percent=_number(values.get(f"{routing}.percentage", "off")),
        )
    return found


def _number(value: str) -> int:
    """A threshold of a target group's health; `off` is 0."""
    return int(value) if value.isdigit() else 0


async def _listener(observer: Observer, listener: dict[str, Any], part: Part | None) -> Listener:
    rules: list[dict[str, Any]] = []
    protocol = one_of(_PROTOCOLS, listener["Protocol"], phrase("the protocol of a listener on {}", listener["Port"]))
    if protocol == "HTTPS" and part is None:
        answer = await observer.aws.call(observer, "elbv2", "describe_rules", ListenerArn=listener["ListenerArn"])
        rules = sorted(answer["Rules"], key=_priority)
    elif protocol not in ("HTTP", "HTTPS"):
        rules = [{"Conditions": [], "Actions": listener["DefaultActions"]}]
    redirects = [a["RedirectConfig"] for a in listener["DefaultActions"] if a["Type"] == "redirect"]
    return Listener(
        arn=listener["ListenerArn"],
        port=listener["Port"],
        protocol=protocol,
        certificates=tuple(c["CertificateArn"] for c in listener["Certificates"]) if protocol in _WITH_TLS else (),
        policy=listener.get("SslPolicy"),
        asks_clients=(listener.get("MutualAuthentication") or {}).get("Mode") == "verify",
        redirects_to=f"{redirects[0].get('Protocol')} {redirects[0].get('StatusCode')}" if redirects else None,
        rules=tuple(map(_rule, rules)),
    )


def _priority(rule: dict[str, Any]) -> float:
    """The sort key of a rule. The default rule's priority is the word `default`, and it is the last."""
    return float(rule["Priority"]) if str(rule["Priority"]).isdigit() else math.inf


def _rule(described: dict[str, Any]) -> Rule:
    told = [c for c in described["Conditions"] if _told(c)]
    wanted = {c["Field"]: tuple(_values(c)) for c in told}  # at most one of each field
    actions = sorted(described["Actions"], key=lambda a: a.get("Order", 0))
    return Rule(
        hosts=wanted.get("host-header"),
        paths=wanted.get("path-pattern"),
        methods=wanted.get("http-request-method"),
        special=any(map(_special, told)),
        strange=tuple(sorted(c["Field"] for c in described["Conditions"] if c not in told)),
        groups=tuple(sorted({g for action in actions for g in _groups(action)})),
        does=actions[-1]["Type"] if actions else "nothing",
        authenticates=any(str(a.get("Type")).startswith("authenticate-") for a in actions),
    )


_OF_USERS = {
    "user-agent": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36",
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1 (KHTML, like Gecko) Safari/604.1",
        "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    ),
    "accept": ("*/*", "application/json, text/plain, */*"),
    "accept-language": ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7",),
}
"""Headers that browsers send, in lower case, with usual values."""
_WIDE = 8
"""An address block with a shorter prefix holds whole countries: no office has one."""


def _special(condition: dict[str, Any]) -> bool:
    """Whether a condition needs what no ordinary request has. A large address block and a browser's own header need
    nothing."""
    if condition["Field"] == "source-ip":
        blocks = _values(condition)
        return not any(int(block.partition("/")[2] or 32) < _WIDE for block in blocks if ":" not in block)
    if condition["Field"] == "http-header":
        usual = _OF_USERS.get(condition["HttpHeaderConfig"]["HttpHeaderName"].lower(), ())
        return not any(_matches(p, value, folded=True) for p in _values(condition) for value in usual)
    return bool(condition["Field"] == "query-string")


def _told(condition: dict[str, Any]) -> bool:
    """Whether this suite knows the kind of a condition, and the answer says which values meet it."""
    return condition["Field"] == "query-string" or bool(_values(condition))


_CONFIGURED = {
    "host-header": "HostHeaderConfig",
    "path-pattern": "PathPatternConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "http-header": "HttpHeaderConfig",
    "source-ip": "SourceIpConfig",
}


def _values(condition: dict[str, Any]) -> list[str]:
    """The values of a condition; none if its kind is not known here. AWS gives the older field `Values` too."""
    if condition["Field"] not in _CONFIGURED:
        return []
    configured = {**condition, **(condition.get(_CONFIGURED[condition["Field"]]) or {})}
    return [*(configured.get("Values") or []), *(f"~{r}" for r in configured.get("RegexValues") or [])]


def _matches(pattern: str, text: str, *, folded: bool = False) -> bool:
    """Matches as the balancer does: `*` is any text, `?` is one character. `folded` ignores case, as for hosts."""
    flags = re.IGNORECASE if folded else 0
    if pattern.startswith("~"):
        return re.search(pattern[1:], text, flags) is not None
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), text, flags) is not None


def _groups(action: dict[str, Any]) -> list[str]:
    """The target groups that get requests from an action, without those of weight 0."""
    weighted = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
    if weighted:
        return [g["TargetGroupArn"] for g in weighted if g.get("Weight", 1) > 0]
    return [action["TargetGroupArn"]] if action.get("TargetGroupArn") else []


def _target(described: dict[str, Any], group: str) -> Target:
    health = described["TargetHealth"]
    return Target(
        id=described["Target"]["Id"],
        state=health["State"],
        reason=health.get("Reason"),
        description=health.get("Description"),
        group=group,
    )
