"""The resources that the templates declare for one environment, and their differences from `environments.toml`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gli.config.environments import Environment, load
from gli.provision import stacks
from gli.provision.template import Resource

GIVEN = {"AWS::Region": "ap-northeast-2"}
_NAMED_BY = {
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::EC2::SecurityGroup": "GroupName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::RDS::DBInstance": "DBInstanceIdentifier",
    "AWS::ElastiCache::ReplicationGroup": "ReplicationGroupId",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::SNS::Topic": "TopicName",
    "AWS::CloudWatch::Alarm": "AlarmName",
}
"""The property that is a resource's name in AWS: what a reference to it stands for."""


@dataclass(frozen=True)
class Declared:
    """All resources of one environment, `stack/LogicalName` to resource, with references between stacks followed."""

    environment: str
    resources: Mapping[str, Resource]

    def of(self, type_: str) -> list[Resource]:
        return [r for r in self.resources.values() if r.type == type_]

    def names(self, type_: str, key: str | None = None) -> set[str]:
        return {str(r.properties[key or _NAMED_BY[type_]]) for r in self.of(type_)}

    def named(self, type_: str, name: str, key: str | None = None) -> Resource:
        return next(r for r in self.of(type_) if r.properties[key or _NAMED_BY[type_]] == name)

    @property
    def prefix(self) -> str:
        return f"{self.environment}-gli-"


def load_stacks(root: Path, environment: str) -> stacks.Stacks:
    """The stacks, with values for the two parameters that only the owner of the Slack workspace knows."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "infrastructure"
        shutil.copytree(root / "infrastructure", copy)
        text = (copy / "stacks.toml").read_text()
        (copy / "stacks.toml").write_text(text.replace("# Slack", "Slack"))
        return stacks.load(Path(folder), environment)


def declared(root: Path, environment: str) -> Declared:
    """Every stack's template with the parameter values of `gli infra`, as far as they are known before an apply."""
    loaded = load_stacks(root, environment)
    known = {**GIVEN, **loaded.given}
    resources: dict[str, Resource] = {}
    for stack in loaded.stacks:
        made = stack.template.resources({**known, "AWS::StackName": stack.name})
        defaults = {n: str(p["Default"]) for n, p in stack.template.parameters.items() if "Default" in p}
        names = {**defaults, **{n: _name(r) for n, r in made.items()}}
        own = stack.template.resources({**known, **{n: v for n, v in names.items() if v}})
        resources |= {f"{stack.name}/{n}": r for n, r in own.items()}
        for output, table in stack.template.outputs.items():
            value = table["Value"]
            name = names.get(value.get("Ref")) if isinstance(value, dict) else None
            known[output] = name or known.get(output) or f"<{output}>"
    return Declared(environment, resources)


def _name(resource: Resource) -> str | None:
    value = resource.properties.get(_NAMED_BY.get(resource.type, ""))
    return value if isinstance(value, str) else None


def differences(root: Path, environment: str) -> list[str]:
    """One sentence for each name or expectation in which the two sources differ; empty if they agree."""
    found, named = declared(root, environment), load(root, environment)
    return [
        f"{what}: the templates declare {_sorted(has)}, environments.toml names {_sorted(wants)}"
        for what, has, wants in (*_parts(found, named), *_services(found, named), *_groups(found, named))
        if has != wants
    ]


def _sorted(values: Any) -> str:
    return ", ".join(sorted(map(str, values))) if isinstance(values, (set, frozenset)) else str(values)


Pair = tuple[str, Any, Any]


def _parts(found: Declared, named: Environment) -> Iterator[Pair]:
    database, cache, broker = named.database, named.cache, named.broker
    assert database and cache and broker and named.logs and named.alarms and named.load_balancer and named.aws
    services, frontends = named.services.values(), named.frontends.values()
    yield "DNS zone", found.names("AWS::Route53::HostedZone", "Name"), {named.dns.zone}
    yield "hosts", found.names("AWS::Route53::RecordSet", "Name"), set(named.hosts)
    yield "load balancer", found.names("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"), {named.load_balancer.name}
    yield "clusters", found.names("AWS::ECS::Cluster"), {s.ecs.cluster for s in services if s.ecs}
    yield "ECS services", found.names("AWS::ECS::Service", "ServiceName"), {s.ecs.service for s in services if s.ecs}
    # The overview also lists an ECR repository for the admin frontend, but nothing is deployed from it.
    yield "images", found.names("AWS::ECR::Repository", "RepositoryName"), {s.image for s in services} | {"gli-admin"}
    yield "buckets", found.names("AWS::S3::Bucket"), {f.bucket for f in frontends}
    yield "database", found.names("AWS::RDS::DBInstance"), {database.instance}
    yield "cache", found.names("AWS::ElastiCache::ReplicationGroup"), {cache.replication_group}
    yield "broker", found.names("AWS::AmazonMQ::Broker", "BrokerName"), {broker.amazon_mq}
    own = {s for s in found.names("AWS::SecretsManager::Secret") if "/passwords/" not in s}
    yield "secrets", own, set(named.secrets)
    yield "log groups", found.names("AWS::Logs::LogGroup"), set(named.logs.groups)
    yield "dashboards", found.names("AWS::CloudWatch::Dashboard", "DashboardName"), set(named.alarms.dashboards)
    yield "topics", found.names("AWS::SNS::Topic"), set(named.alarms.topics)
    least = min(int(g.properties["RetentionInDays"]) for g in found.of("AWS::Logs::LogGroup"))
    yield "retention of logs", least >= named.logs.minimum_retention_days, True
    (instance,) = found.of("AWS::RDS::DBInstance")
    kept = int(instance.properties["BackupRetentionPeriod"])
    yield "days of backups", kept >= database.minimum_backup_days, True
    alarms = found.of("AWS::CloudWatch::Alarm")
    yield "alarms without the prefix", {n for n in _alarm_names(alarms) if not n.startswith(named.alarms.prefix)}, set()
    watched = {m for a in alarms for m in _metrics(a)}
    yield "metrics without an alarm", set(named.alarms.metrics) - watched, set()
    for frontend in frontends:
        yield f"bucket behind {frontend.host}", _bucket_of(found, frontend.host), frontend.bucket


def _alarm_names(alarms: Iterable[Resource]) -> set[str]:
    return {str(a.properties["AlarmName"]) for a in alarms}


def _metrics(alarm: Resource) -> set[str]:
    several = [
        m["MetricStat"]["Metric"]["MetricName"] for m in alarm.properties.get("Metrics", []) if "MetricStat" in m
    ]
    return {alarm.properties["MetricName"]} if "MetricName" in alarm.properties else set(several)


def _bucket_of(found: Declared, host: str) -> str | None:
    """The bucket that the distribution with this alias reads."""
    for distribution in found.of("AWS::CloudFront::Distribution"):
        config = distribution.properties["DistributionConfig"]
        if host in config["Aliases"]:
            logical = config["Origins"][0]["DomainName"]["Fn::GetAtt"][0]
            bucket = next(r for n, r in found.resources.items() if n.endswith(f"/{logical}"))
            return str(bucket.properties["BucketName"])
    return None


def _services(found: Declared, named: Environment) -> Iterator[Pair]:
    for service in named.services.values():
        assert service.ecs is not None
        capital = service.name.capitalize()
        ecs = _logical(found, f"{capital}Service")
        balanced = ecs.properties["LoadBalancers"][0]
        where = f"service {service.name}"
        yield f"{where}, cluster", ecs.properties["Cluster"], service.ecs.cluster
        yield f"{where}, container", balanced["ContainerName"], service.ecs.container
        yield f"{where}, port", balanced["ContainerPort"], service.ecs.port
        task = _logical(found, f"{capital}Task").properties["ContainerDefinitions"][0]
        yield f"{where}, container of the task", task["Name"], service.ecs.container
        yield f"{where}, port of the task", task["PortMappings"][0]["ContainerPort"], service.ecs.port
        yield f"{where}, log group", task["LogConfiguration"]["Options"]["awslogs-group"], service.log_group
        least = _logical(found, f"{capital}Scaling").properties["MinCapacity"]
        yield f"{where}, least tasks", int(least), service.ecs.minimum_tasks
        rules = [_logical(found, f"{capital}{kind}").properties["Conditions"][0] for kind in ("Rule", "TestRule")]
        yield f"{where}, host of its rules", {r["HostHeaderConfig"]["Values"][0] for r in rules}, {service.host}
        groups = [_logical(found, f"{capital}{colour}").properties for colour in ("Blue", "Green")]
        yield f"{where}, health path", {g["HealthCheckPath"] for g in groups}, {service.health_path}
        yield f"{where}, port of its target groups", {g["Port"] for g in groups}, {service.ecs.port}
        silence = int(_attributes(found)["idle_timeout.timeout_seconds"])
        yield f"{where}, idle timeout", silence >= 2 * service.heartbeat_s, True


def _attributes(found: Declared) -> dict[str, str]:
    (balancer,) = found.of("AWS::ElasticLoadBalancingV2::LoadBalancer")
    return {a["Key"]: a["Value"] for a in balancer.properties["LoadBalancerAttributes"]}


def _logical(found: Declared, name: str) -> Resource:
    return next(r for n, r in found.resources.items() if n.endswith(f"/{name}"))


def _groups(found: Declared, named: Environment) -> Iterator[Pair]:
    database, cache, broker, balancer = named.database, named.cache, named.broker, named.load_balancer
    assert database and cache and broker and balancer
    guarded = {
        f"{found.prefix}database": (5432, set(database.ingress_from)),
        str(cache.security_group): (6379, set(cache.ingress_from)),
        str(broker.security_group): (5671, set(broker.ingress_from)),
    }
    for name, (port, sources) in guarded.items():
        yield f"who reaches {name}", ingress(found, name), {(port, s) for s in sources}
    for service in named.services.values():
        assert service.ecs is not None
        own = f"{found.prefix}{service.name}-tasks"
        yield f"who reaches {own}", ingress(found, own), {(service.ecs.port, balancer.name)}
    openings = ingress(found, balancer.name)
    world = {port for port, source in openings if source in ("0.0.0.0/0", "::/0")}
    yield f"ports of {balancer.name} open to the world", world, set(balancer.ports_open_to_the_world)
    yield f"other ports of {balancer.name}", {p for p, _ in openings} - world, {balancer.test_port}
    listeners = {x.properties["Port"] for x in found.of("AWS::ElasticLoadBalancingV2::Listener")}
    yield "listeners", listeners, {*balancer.ports_open_to_the_world, balancer.test_port}


def ingress(found: Declared, name: str) -> set[tuple[int, str]]:
    """The ingress of a security group on single TCP ports: (port, name of a group or block)."""
    if name not in found.names("AWS::EC2::SecurityGroup"):
        return set()
    group = found.named("AWS::EC2::SecurityGroup", name)
    openings = group.properties.get("SecurityGroupIngress", [])
    assert all(o["IpProtocol"] == "tcp" and o["FromPort"] == o["ToPort"] for o in openings), name
    return {(o["FromPort"], str(o.get("SourceSecurityGroupId") or o.get("CidrIp"))) for o in openings}
