"""What an AWS account holds of one environment, for `gli discover`: names and relations, no value of a secret.

A resource is taken if its name matches a pattern of the user; the names of the others are kept, so that the user sees
what was left out. Source of truth: the list and describe operations of `guard.DISCOVERY_READS`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from gli.config.services import LoadBalancer
from gli.observe.aws.ec2_security_groups import SecurityGroup, groups_of
from gli.observe.aws.ecs_services import EcsService, service_of
from gli.observe.aws.identity import Identity, caller_identity
from gli.observe.aws.load_balancer import Balancer, balancer
from gli.observe.aws.route53 import normalised
from gli.observe.aws.task_definitions import Container, described_definition
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved
from gli.observe.engine.probe import Observer

Found = TypeVar("Found")
_SERVICES_PER_CALL = 10  # the most that DescribeServices accepts
_MOST_ZONES = "100"
_BALANCERS = ("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName")
_SECRETS = ("secretsmanager", "list_secrets", "SecretList", "Name")
_DASHBOARDS = ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName")
_LAUNCH_TYPES = ("FARGATE", "EC2", "MANAGED_INSTANCES")  # the likeliest first, for a service with a capacity provider
_OF_SCALING = "TargetTracking-"  # alarms that Application Auto Scaling makes for itself


class Deployed(Observation):
    """An ECS service with the container that the load balancer sends requests to."""

    ecs: EcsService
    container: Container
    port: int | None = None
    """The container's port that serves; None where no load balancer sends requests to it."""
    launch_type: str = "FARGATE"
    network: str = "awsvpc"
    others: tuple[str, ...] = ()
    """The names of the task's other containers."""


class Site(Observation):
    """A distribution of CloudFront, or one of its behaviours for other paths."""

    domain_name: str
    aliases: tuple[str, ...]
    bucket: str | None = None
    """The bucket that it serves; None where its origin is something else."""
    origin: str = ""
    origin_path: str = ""
    prefix: str = ""
    """What the paths begin with that it serves so (`/ops`); empty: its default behaviour."""
    countries: tuple[str, ...] = ()
    """The only countries that may load it; empty: all."""

    @property
    def name(self) -> str:
        return self.bucket or self.origin


class Store(Observation):
    """A database, a cache or a broker."""

    name: str
    groups: tuple[str, ...] = ()
    """The ids of its security groups."""
    port: int | None = None
    secret: str | None = None
    """The secret of its administrator, where AWS manages it."""


class Alarm(Observation):
    name: str
    metrics: tuple[str, ...]
    topics: tuple[str, ...]


class Account(Observation):
    """Everything that was seen in one region of an account, and in its global services."""

    identity: Identity
    balancers: tuple[Balancer, ...] = ()
    health_paths: Mapping[str, str] = {}
    """ARN of a target group to the path of its health check."""
    services: tuple[Deployed, ...] = ()
    sites: tuple[Site, ...] = ()
    zones: tuple[str, ...] = ()
    """The names of the public hosted zones."""
    names: Mapping[str, str] = {}
    """Host to what its alias or CNAME record points at."""
    databases: tuple[Store, ...] = ()
    caches: tuple[Store, ...] = ()
    brokers: tuple[Store, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = ()
    secrets: tuple[str, ...] = ()
    """Where credentials may be: names in Secrets Manager, and `ssm:NAME` of parameters that are encrypted."""
    log_groups: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    dashboards: tuple[str, ...] = ()
    left: Mapping[str, tuple[str, ...]] = {}
    """Kind to the names that match no pattern of the user."""
    untold: Mapping[str, str] = {}
    """Kind to the reason why it could not be listed."""


class _Asked:
    """The patterns of the user, what they left out, and what could not be asked."""

    def __init__(self, observer: Observer, patterns: Sequence[str]) -> None:
        self.observer, self._patterns = observer, patterns or ("*",)
        self.left: dict[str, tuple[str, ...]] = {}
        self.untold: dict[str, str] = {}

    def takes(self, *names: str) -> bool:
        """Whether one of the names of a resource matches a pattern."""
        return any(fnmatchcase(name, pattern) for name in names for pattern in self._patterns)

    def taken(self, kind: str, all_: Iterable[Found], name: Callable[[Found], str]) -> list[Found]:
        """Those that match; the names of the others are noted."""
        each = sorted(all_, key=name)
        if left := [name(one) for one in each if not self.takes(name(one))]:
            self.left[kind] = tuple(left)
        return [one for one in each if self.takes(name(one))]

    async def told(self, kind: str, asking: Awaitable[Found], otherwise: Found) -> Found:
        """What was asked for; `otherwise` where AWS does not tell it, with the reason noted."""
        try:
            return await asking
        except (Unobserved, AwsError) as e:
            self.untold[kind] = str(e)
            return otherwise

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self.observer.aws.call(self.observer, service, operation, **parameters)


async def survey(observer: Observer, patterns: Sequence[str]) -> Account:
    """Asks the account. Raises `Unobserved` if the credentials do not work, or if their account is another one."""
    identity = await observer.see(caller_identity)
    asked = _Asked(observer, patterns)
    balancers, services, sites, groups, zones = await asyncio.gather(
        asked.told("load balancer", _balancers(asked), ()),
        asked.told("ECS service", _services(asked), ()),
        asked.told("distribution", _sites(asked), ()),
        asked.told("security group", _security_groups(asked), ()),
        asked.told("hosted zone", _zones(asked), {}),
    )
    paths, names, databases, caches, brokers = await asyncio.gather(
        asked.told("target group", _health_paths(asked, balancers), {}),
        asked.told("record", _names(asked, zones, balancers, sites), {}),
        asked.told("database", _databases(asked), ()),
        asked.told("cache", _caches(asked), ()),
        asked.told("broker", _brokers(asked), ()),
    )
    secrets, parameters, dashboards, log_groups, alarms = await asyncio.gather(
        asked.told("secret", _listed(asked, "secret", *_SECRETS), ()),
        asked.told("parameter", _parameters(asked), ()),
        asked.told("dashboard", _listed(asked, "dashboard", *_DASHBOARDS), ()),
        asked.told("log group", _log_groups(asked, services), ()),
        asked.told("alarm", _alarms(asked), ()),
    )
    return Account(
        identity=identity,
        balancers=balancers,
        health_paths=paths,
        services=services,
        sites=sites,
        zones=tuple(sorted(zones)),
        names=names,
        databases=databases,
        caches=caches,
        brokers=brokers,
        security_groups=groups,
        secrets=(*secrets, *parameters),
        log_groups=log_groups,
        alarms=alarms,
        dashboards=dashboards,
        left=dict(sorted(asked.left.items())),
        untold=dict(sorted(asked.untold.items())),
    )


async def _listed(asked: _Asked, kind: str, service: str, operation: str, listing: str, key: str) -> tuple[str, ...]:
    """The names that one operation lists, those that match."""
    answer = await asked.call(service, operation)
    return tuple(asked.taken(kind, (str(each[key]) for each in answer[listing]), str))


async def _balancers(asked: _Asked) -> tuple[Balancer, ...]:
    names = await _listed(asked, "load balancer", *_BALANCERS)
    return tuple([await asked.observer.see(balancer, LoadBalancer(name=name)) for name in names])


async def _health_paths(asked: _Asked, balancers: Iterable[Balancer]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in balancers:
        answer = await asked.call("elbv2", "describe_target_groups", LoadBalancerArn=each.arn)
        found |= {g["TargetGroupArn"]: g["HealthCheckPath"] for g in answer["TargetGroups"] if g.get("HealthCheckPath")}
    return found


async def _services(asked: _Asked) -> tuple[Deployed, ...]:
    clusters = (await asked.call("ecs", "list_clusters"))["clusterArns"]
    listed = await asyncio.gather(*[asked.call("ecs", "list_services", cluster=arn) for arn in clusters])
    every = [(_last(c), _last(s)) for c, answer in zip(clusters, listed, strict=True) for s in answer["serviceArns"]]
    wanted = [(c, s) for c, s in every if asked.takes(s, f"{c}/{s}")]
    if left := sorted({f"{c}/{s}" for c, s in every} - {f"{c}/{s}" for c, s in wanted}):
        asked.left["ECS service"] = tuple(left)
    found = []
    for cluster in sorted({c for c, _ in wanted}):
        names = [s for c, s in wanted if c == cluster]
        for n in range(0, len(names), _SERVICES_PER_CALL):
            batch = names[n : n + _SERVICES_PER_CALL]
            answer = await asked.call("ecs", "describe_services", cluster=cluster, services=batch)
            found += [(cluster, described) for described in answer["services"]]
    each = [
        asked.told(f"ECS service {cluster}/{described['serviceName']}", _deployed(asked, cluster, described), None)
        for cluster, described in found
    ]
    return tuple(service for service in await asyncio.gather(*each) if service is not None)


async def _deployed(asked: _Asked, cluster: str, described: dict[str, Any]) -> Deployed | None:
    service = service_of(cluster, described["serviceName"], described, {})
    definition = await described_definition(asked.observer, service.primary.task_definition)
    behind = [lb for each in [described, *(described.get("taskSets") or [])] for lb in each.get("loadBalancers") or []]
    wanted: dict[str, Any] = next((lb for lb in behind if lb.get("containerName")), {})
    essential = [c.name for c in definition.containers if c.essential]
    name = wanted.get("containerName") or essential[0]
    likely = next((kind for kind in _LAUNCH_TYPES if kind in definition.compatibilities), "EC2")
    return Deployed(
        ecs=service,
        container=definition.container(name),
        port=wanted.get("containerPort"),
        launch_type=described.get("launchType") or likely,
        network=definition.network_mode,
        others=tuple(c.name for c in definition.containers if c.name != name),
    )


async def _sites(asked: _Asked) -> tuple[Site, ...]:
    answer = await asked.call("cloudfront", "list_distributions")
    items = (answer.get("DistributionList") or {}).get("Items") or []
    every = [site for item in items if not item.get("Staging") for site in sites_of(item)]
    taken = [site for site in every if asked.takes(site.name, *site.aliases)]
    if left := sorted({site.name for site in every} - {site.name for site in taken}):
        asked.left["distribution"] = tuple(left)
    return tuple(sorted(taken, key=lambda site: site.name))


def sites_of(item: dict[str, Any]) -> list[Site]:
    """What a distribution of ListDistributions serves by default, and below a path from another origin."""
    first = _site(item, item["DefaultCacheBehavior"])
    others = [_site(item, behavior) for behavior in (item.get("CacheBehaviors") or {}).get("Items") or []]
    own = (first.origin, first.origin_path)
    return [first, *(site for site in others if site.prefix and (site.origin, site.origin_path) != own)]


def _site(item: dict[str, Any], behavior: dict[str, Any]) -> Site:
    """One behaviour of a distribution, with its origin: of a group, the first."""
    target = behavior["TargetOriginId"]
    for group in (item.get("OriginGroups") or {}).get("Items") or []:
        if group["Id"] == target:
            target = group["Members"]["Items"][0]["OriginId"]
    origin: dict[str, Any] = next((o for o in item["Origins"]["Items"] if o["Id"] == target), {})
    begins = re.fullmatch(r"(/[^*?]+?)/?\*", behavior.get("PathPattern", ""))
    host = str(origin.get("DomainName", ""))
    bucket, _, rest = host.partition(".s3")
    in_s3 = rest[:1] in (".", "-") and host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    restriction = (item.get("Restrictions") or {}).get("GeoRestriction") or {}
    allowed = restriction.get("Items") or [] if restriction.get("RestrictionType") == "whitelist" else []
    return Site(
        domain_name=normalised(item["DomainName"]),
        aliases=tuple(sorted((item.get("Aliases") or {}).get("Items") or [])),
        bucket=bucket if in_s3 else None,
        origin=host,
        origin_path=origin.get("OriginPath") or "",
        prefix=begins[1] if begins else "",
        countries=tuple(sorted(allowed)),
    )


async def _security_groups(asked: _Asked) -> tuple[SecurityGroup, ...]:
    return groups_of((await asked.call("ec2", "describe_security_groups"))["SecurityGroups"])


async def _zones(asked: _Asked) -> dict[str, str]:
    """The name of each public zone to its id."""
    answer = await asked.call("route53", "list_hosted_zones_by_name", MaxItems=_MOST_ZONES)
    if answer.get("IsTruncated"):
        asked.untold["hosted zone"] = f"the account has more than {_MOST_ZONES}: write [ENV.dns] zone"
    public = [z for z in answer["HostedZones"] if not (z.get("Config") or {}).get("PrivateZone")]
    return {normalised(z["Name"]): z["Id"] for z in public}


async def _names(
    asked: _Asked, zones: Mapping[str, str], balancers: Iterable[Balancer], sites: Iterable[Site]
) -> dict[str, str]:
    """The hosts whose records point at one of the balancers or distributions."""
    ends = {normalised(b.dns_name) for b in balancers if b.dns_name} | {site.domain_name for site in sites}
    found = {}
    for id_ in zones.values() if ends else ():
        answer = await asked.call("route53", "list_resource_record_sets", HostedZoneId=id_)
        for record in answer["ResourceRecordSets"]:
            targets = [(record.get("AliasTarget") or {}).get("DNSName", "")]
            targets += [r["Value"] for r in record.get("ResourceRecords") or [] if record["Type"] == "CNAME"]
            for end in {normalised(target) for target in targets} & ends:
                found[normalised(record["Name"])] = end
    return dict(sorted(found.items()))


async def _databases(asked: _Asked) -> tuple[Store, ...]:
    """The clusters of Aurora, and the instances of PostgreSQL that are in no cluster and are no replica."""
    clusters = (await asked.call("rds", "describe_db_clusters"))["DBClusters"]
    instances = (await asked.call("rds", "describe_db_instances"))["DBInstances"]
    alone = [
        i for i in instances if not i.get("DBClusterIdentifier") and not i.get("ReadReplicaSourceDBInstanceIdentifier")
    ]
    stores = [_database(c["DBClusterIdentifier"], c, c.get("Port")) for c in clusters if "postgres" in c["Engine"]]
    stores += [
        _database(i["DBInstanceIdentifier"], i, (i.get("Endpoint") or {}).get("Port"))
        for i in alone
        if "postgres" in i["Engine"]
    ]
    return tuple(asked.taken("database", stores, lambda store: store.name))


def _database(name: str, described: dict[str, Any], port: int | None) -> Store:
    arn = (described.get("MasterUserSecret") or {}).get("SecretArn", "")
    return Store(
        name=name,
        port=port,
        groups=tuple(g["VpcSecurityGroupId"] for g in described.get("VpcSecurityGroups") or []),
        secret=arn.split(":")[-1][:-7] or None,
    )


async def _caches(asked: _Asked) -> tuple[Store, ...]:
    groups = (await asked.call("elasticache", "describe_replication_groups"))["ReplicationGroups"]
    nodes = (await asked.call("elasticache", "describe_cache_clusters"))["CacheClusters"]
    attached: dict[str, set[str]] = {}
    for node in nodes:
        held = {g["SecurityGroupId"] for g in node.get("SecurityGroups") or []}
        attached.setdefault(node.get("ReplicationGroupId", ""), set()).update(held)
    stores = [
        Store(
            name=g["ReplicationGroupId"],
            groups=tuple(sorted(attached.get(g["ReplicationGroupId"], ()))),
            port=_port_of(g),
        )
        for g in groups
    ]
    asking = asked.call("elasticache", "describe_serverless_caches")
    serverless = (await asked.told("serverless cache", asking, {"ServerlessCaches": []}))["ServerlessCaches"]
    stores += [
        Store(
            name=c["ServerlessCacheName"],
            groups=tuple(c.get("SecurityGroupIds") or []),
            port=(c.get("Endpoint") or {}).get("Port"),
        )
        for c in serverless
    ]
    return tuple(asked.taken("cache", stores, lambda store: store.name))


def _port_of(group: dict[str, Any]) -> int | None:
    nodes = group.get("NodeGroups") or [{}]
    endpoint = group.get("ConfigurationEndpoint") or nodes[0].get("PrimaryEndpoint") or {}
    port: int | None = endpoint.get("Port")
    return port


async def _brokers(asked: _Asked) -> tuple[Store, ...]:
    every = (await asked.call("mq", "list_brokers"))["BrokerSummaries"]
    listed = [b for b in every if b["EngineType"].upper() == "RABBITMQ"]  # Amazon MQ answers `RabbitMQ`, too
    found = []
    for broker in asked.taken("broker", listed, lambda b: str(b["BrokerName"])):
        described = await asked.call("mq", "describe_broker", BrokerId=broker["BrokerId"])
        groups = tuple(sorted(described.get("SecurityGroups") or []))
        found.append(Store(name=broker["BrokerName"], groups=groups, port=5671))
    return tuple(found)


async def _parameters(asked: _Asked) -> tuple[str, ...]:
    secure = [{"Key": "Type", "Option": "Equals", "Values": ["SecureString"]}]
    answer = await asked.call("ssm", "describe_parameters", ParameterFilters=secure)
    taken = asked.taken("parameter", (str(each["Name"]) for each in answer["Parameters"]), str)
    return tuple(f"ssm:{name}" for name in taken)


async def _log_groups(asked: _Asked, services: Iterable[Deployed]) -> tuple[str, ...]:
    """The log groups that match, and those that the tasks write to."""
    answer = await asked.call("logs", "describe_log_groups")
    used = {s.container.log_group for s in services}
    names = [g["logGroupName"] for g in answer["logGroups"]]
    taken = [name for name in names if name in used or asked.takes(name)]
    if left := sorted(set(names) - set(taken)):
        asked.left["log group"] = tuple(left)
    return tuple(sorted(taken))


async def _alarms(asked: _Asked) -> tuple[Alarm, ...]:
    listed = (await asked.call("cloudwatch", "describe_alarms")).get("MetricAlarms") or []
    described = [alarm for alarm in listed if not alarm["AlarmName"].startswith(_OF_SCALING)]
    taken = asked.taken("alarm", described, lambda alarm: str(alarm["AlarmName"]))
    return tuple(
        Alarm(
            name=alarm["AlarmName"],
            metrics=_metrics(alarm),
            topics=tuple(sorted({a.split(":")[-1] for a in alarm.get("AlarmActions") or [] if ":sns:" in a})),
        )
        for alarm in taken
    )


def _metrics(alarm: dict[str, Any]) -> tuple[str, ...]:
    """The metric of an alarm, or those that its expression is made of."""
    inner = [(m.get("MetricStat") or {}).get("Metric") or {} for m in alarm.get("Metrics") or []]
    named = {alarm.get("MetricName"), *(metric.get("MetricName") for metric in inner)}
    return tuple(sorted(name for name in named if name))


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]
