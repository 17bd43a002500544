"""Common set-ups of databases and caches: Aurora, RDS Proxy, names of one's own, serverless caches, Valkey, tokens."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from gli.config.environments import Environment
from sandbox.aws.images import start_again
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import (
    alias_zone,
    allowed,
    both,
    change_records,
    overlaid,
    reconfigured,
    redefined,
    region,
)

_AWAY = "us-west-2"
_PASSWORD = "kept-by-rds-and-used-by-nobody"


def _instance(sandbox: Sandbox, environment: Environment) -> dict[str, Any]:
    wanted = required(environment.database).instance
    found: dict[str, Any] = sandbox.aws("rds").describe_db_instances(DBInstanceIdentifier=wanted)["DBInstances"][0]
    return found


@contextmanager
def _measured(sandbox: Sandbox, namespace: str, dimensions: Mapping[str, str], **values: float) -> Iterator[None]:
    """Give metrics these values for the last three hours."""
    with ExitStack() as played:
        for metric, value in values.items():
            where = {"region": region(sandbox), "namespace": namespace, "dimensions": dict(dimensions)}
            played.enter_context(overlaid(sandbox, "metric-data", **where, metric=metric, value=value, for_s=3 * 3600))
        yield


@variant("aurora-postgresql", tries=["db-predeploy-snapshot", "db-protection"])
def aurora_postgresql(sandbox: Sandbox) -> Iterator[None]:
    """The database of both environments is a cluster of Aurora PostgreSQL with a writer and a reader."""
    with ExitStack() as made:
        for environment in both(sandbox):
            made.enter_context(_aurora(sandbox, environment))
        yield


@contextmanager
def _aurora(sandbox: Sandbox, environment: Environment) -> Iterator[None]:
    """Put a cluster in place of the environment's instance. Its writer has the instance's name and endpoint."""
    rds, before = sandbox.aws("rds"), _instance(sandbox, environment)
    name = before["DBInstanceIdentifier"]
    cluster, reader = f"{name}-cluster", f"{name}-reader"
    undo = sandbox.aws_overlay("database-aside", region=region(sandbox), instance=name, aside=True)
    rds.create_db_cluster(
        DBClusterIdentifier=cluster,
        Engine="aurora-postgresql",
        EngineVersion="17.4",
        DatabaseName=before["DBName"],
        MasterUsername="gli_master",
        MasterUserPassword=_PASSWORD,
        Port=before["Endpoint"]["Port"],
        StorageEncrypted=True,
        DeletionProtection=True,
        BackupRetentionPeriod=7,
        DBSubnetGroupName=before["DBSubnetGroup"]["DBSubnetGroupName"],
        VpcSecurityGroupIds=[g["VpcSecurityGroupId"] for g in before["VpcSecurityGroups"]],
    )
    for id_ in (name, reader):
        rds.create_db_instance(
            DBInstanceIdentifier=id_,
            DBClusterIdentifier=cluster,
            Engine="aurora-postgresql",
            DBInstanceClass="db.r8g.large",
            PubliclyAccessible=False,
            CACertificateIdentifier="rds-ca-rsa2048-g1",
            DBSubnetGroupName=before["DBSubnetGroup"]["DBSubnetGroupName"],
            VpcSecurityGroupIds=[g["VpcSecurityGroupId"] for g in before["VpcSecurityGroups"]],
        )
    rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier=f"{cluster}-before-release", DBClusterIdentifier=cluster)
    try:
        with _measured(sandbox, "AWS/RDS", {"DBInstanceIdentifier": name}, FreeLocalStorage=20.0 * 2**30):
            yield
    finally:
        rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=f"{cluster}-before-release")
        sandbox.aws_overlay("database-aside", **{**undo, "cluster": cluster, "reader": reader})


@variant("replica-in-another-region", tries=["db-replication-lag"])
def replica_in_another_region(sandbox: Sandbox) -> Iterator[None]:
    """The database has a read replica in another region, which RDS names by its ARN, 4 s behind."""
    source, away = _instance(sandbox, sandbox.environment), sandbox.aws("rds", _AWAY)
    name = f"{source['DBInstanceIdentifier']}-away"
    away.create_db_instance_read_replica(
        DBInstanceIdentifier=name, SourceDBInstanceIdentifier=source["DBInstanceArn"], DeletionProtection=False
    )
    lag = {"namespace": "AWS/RDS", "metric": "ReplicaLag", "dimensions": {"DBInstanceIdentifier": name}, "value": 4.0}
    with overlaid(sandbox, "metric-data", region=_AWAY, **lag):
        yield
    away.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)


@contextmanager
def _secret(sandbox: Sandbox, id_: str, *, without: tuple[str, ...] = (), **fields: Any) -> Iterator[None]:
    """Change fields of a secret, and start the tasks again, as they would be after such a change."""
    secrets = sandbox.aws("secretsmanager")
    before = secrets.get_secret_value(SecretId=id_)["SecretString"]
    document = {k: v for k, v in {**json.loads(before), **fields}.items() if k not in without}
    _put(sandbox, id_, json.dumps(document))
    try:
        yield
    finally:
        _put(sandbox, id_, before)


def _put(sandbox: Sandbox, id_: str, text: str) -> None:
    sandbox.aws("secretsmanager").put_secret_value(SecretId=id_, SecretString=text)
    for service in sandbox.environment.services.values():
        start_again(sandbox, service)


@contextmanager
def _reached_as(sandbox: Sandbox, host: str) -> Iterator[None]:
    """Let the database be reached by another name."""
    with (sandbox.state_dir / "environment.toml").open("rb") as file:
        places = tomllib.load(file)["connect_to"]
    with reconfigured(sandbox, connect_to={**places, f"{host}:5432": sandbox.relay("database").address}):
        yield


@variant("rds-proxy", tries=["vantage-vpc-reachable"])
def rds_proxy(sandbox: Sandbox) -> Iterator[None]:
    """The application logs in through an RDS proxy, which refuses the start-up parameter `options`."""
    rds, database = sandbox.aws("rds"), required(sandbox.environment.database)
    before, relay = _instance(sandbox, sandbox.environment), sandbox.relay("database")
    subnets = [s["SubnetIdentifier"] for s in before["DBSubnetGroup"]["Subnets"]]
    proxy = rds.create_db_proxy(
        DBProxyName="gli-proxy",
        EngineFamily="POSTGRESQL",
        Auth=[{"AuthScheme": "SECRETS", "IAMAuth": "DISABLED"}],
        RoleArn="arn:aws:iam::123456789012:role/gli-proxy",
        VpcSubnetIds=subnets,
    )["DBProxy"]
    rds.register_db_proxy_targets(DBProxyName="gli-proxy", DBInstanceIdentifiers=[database.instance])
    host, certificate = proxy["Endpoint"], relay.certificate
    relay.certificate = sandbox.data_authority.issue([host, before["Endpoint"]["Address"]]).context()
    relay.refuses_options = True
    with _reached_as(sandbox, host), _secret(sandbox, database.secret, host=host):
        yield
    relay.certificate, relay.refuses_options = certificate, False
    rds.delete_db_proxy(DBProxyName="gli-proxy")


@variant("database-behind-a-cname", tries=["dns-env-not-crossed"])
def database_behind_a_cname(sandbox: Sandbox) -> Iterator[None]:
    """The host in the database's secret is a name in the environment's own zone: a CNAME of the RDS endpoint."""
    database, zone = required(sandbox.environment.database), required(sandbox.environment.dns.zone)
    host = f"db.internal.{zone}"
    record = {"Name": f"{host}.", "Type": "CNAME", "TTL": 60}
    record["ResourceRecords"] = [{"Value": _instance(sandbox, sandbox.environment)["Endpoint"]["Address"]}]
    change_records(sandbox, alias_zone(sandbox), [("UPSERT", record)])
    with _reached_as(sandbox, host), _secret(sandbox, database.secret, host=host):
        yield
    change_records(sandbox, alias_zone(sandbox), [("DELETE", record)])


@variant("secret-managed-by-rds", tries=["secret-rotation-state"])
def secret_managed_by_rds(sandbox: Sandbox) -> Iterator[None]:
    """RDS manages the database's secret: it holds a user and a password only, and no host."""
    secrets, name = sandbox.aws("secretsmanager"), "rds!db-0f1e2d3c-4b5a-6978"
    before = required(sandbox.environment.database).secret
    login = json.loads(secrets.get_secret_value(SecretId=before)["SecretString"])
    document = {key: login[key] for key in ("username", "password")}
    arn = secrets.create_secret(Name=name, SecretString=json.dumps(document))["ARN"]

    def refer(definition: dict[str, Any]) -> None:
        for secret in definition["containerDefinitions"][0]["secrets"]:
            if f":secret:{before}-" in secret["valueFrom"]:
                secret["valueFrom"] = arn

    allow = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn}
    with reconfigured(sandbox, database={"secret": name}), allowed(sandbox, allow), redefined(sandbox, refer):
        yield
    secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def _group(sandbox: Sandbox, environment: Environment) -> dict[str, Any]:
    wanted = required(environment.cache).replication_group
    found = sandbox.aws("elasticache").describe_replication_groups(ReplicationGroupId=wanted)["ReplicationGroups"]
    described: dict[str, Any] = found[0]
    return described


@contextmanager
def _regrouped(sandbox: Sandbox, environment: Environment, **changes: Any) -> Iterator[None]:
    """Set attributes of the environment's replication group."""
    name = required(environment.cache).replication_group
    with overlaid(sandbox, "replication-group", region=region(sandbox), name=name, **changes):
        yield


@variant("valkey", tries=["parity-engines"])
def valkey(sandbox: Sandbox) -> Iterator[None]:
    """The cache of both environments is Valkey 8.1."""
    with ExitStack() as changed:
        for environment in both(sandbox):
            changed.enter_context(_regrouped(sandbox, environment, engine="valkey", engine_version="8.1"))
        yield


@variant("cache-in-cluster-mode")
def cache_in_cluster_mode(sandbox: Sandbox) -> Iterator[None]:
    """The cache runs in cluster mode: it has a configuration endpoint, and its shards have no primary endpoint."""
    shard = _group(sandbox, sandbox.environment)["NodeGroups"][0]
    members = [{"cache_cluster_id": m["CacheClusterId"], "cache_node_id": "0001"} for m in shard["NodeGroupMembers"]]
    with _regrouped(
        sandbox,
        sandbox.environment,
        cluster_enabled=True,
        configuration_endpoint={"address": shard["PrimaryEndpoint"]["Address"], "port": 6379},
        node_groups=[{"node_group_id": "0001", "status": "available", "node_group_members": members}],
    ):
        yield


@variant("cache-with-a-token", tries=["secret-fields"])
def cache_with_a_token(sandbox: Sandbox) -> Iterator[None]:
    """Everybody logs in to the cache with its AUTH token: its secrets name no user."""
    cache, token = required(sandbox.environment.cache), urlsplit(sandbox.redis_url).password
    with (
        _secret(sandbox, cache.secret, without=("username",), password=token),
        _secret(sandbox, cache.verify_secret, without=("username",), password=token),
    ):
        yield


@variant("nightly-backup", tries=["db-instance-available", "redis-available"])
def nightly_backup(sandbox: Sandbox) -> Iterator[None]:
    """RDS makes a backup of the database, ElastiCache a snapshot of the cache, as each night."""
    instance = required(sandbox.environment.database).instance
    database = {"region": region(sandbox), "instance": instance, "status": "backing-up"}
    with (
        overlaid(sandbox, "database", **database),
        _regrouped(sandbox, sandbox.environment, status="snapshotting"),
    ):
        yield


@variant("more-than-the-least", tries=["db-pending-changes", "db-backup-pitr", "db-ca-valid"])
def more_than_the_least(sandbox: Sandbox) -> Iterator[None]:
    """The database is larger and safer than staging needs: more storage, longer backups, a newer authority. RDS will
    update its system in two weeks.
    """
    rds, before = sandbox.aws("rds"), _instance(sandbox, sandbox.environment)
    wanted = {
        "BackupRetentionPeriod": 21,
        "AllocatedStorage": before["AllocatedStorage"] + 100,
        "DBInstanceClass": "db.m7g.large",
        "CACertificateIdentifier": "rds-ca-ecc384-g1",
    }
    known = {"DBInstanceIdentifier": before["DBInstanceIdentifier"], "ApplyImmediately": True}
    rds.modify_db_instance(**known, **wanted)
    named = before["DBInstanceIdentifier"]
    planned = {"region": region(sandbox), "instance": named, "played_maintenance": [("system-update", 336.0)]}
    with (
        overlaid(sandbox, "database", **planned),
        _measured(sandbox, "AWS/RDS", {"DBInstanceIdentifier": named}, FreeStorageSpace=150.0 * 2**30),
    ):
        yield
    rds.modify_db_instance(**known, **{name: before[name] for name in wanted})


@variant("pure-cache", tries=["redis-evictions", "redis-memory"])
def pure_cache(sandbox: Sandbox) -> Iterator[None]:
    """Nothing but copies lie in the cache: it evicts what was used least, as environments.toml says."""
    group, policy = _group(sandbox, sandbox.environment), "allkeys-lru"
    with ExitStack() as changed:
        for node in group["MemberClusters"]:
            changed.enter_context(_measured(sandbox, "AWS/ElastiCache", {"CacheClusterId": node}, Evictions=120.0))
        changed.enter_context(reconfigured(sandbox, cache={"policies": [policy]}))
        redis = changed.enter_context(sandbox.redis())
        before = redis.config_get("maxmemory-policy")["maxmemory-policy"]
        redis.config_set("maxmemory-policy", policy)
        yield
        redis.config_set("maxmemory-policy", before)


@variant("elasticache-serverless")
def elasticache_serverless(sandbox: Sandbox) -> Iterator[None]:
    """The cache of both environments is serverless: it has no nodes."""
    with ExitStack() as made:
        for environment in both(sandbox):
            made.enter_context(_serverless(sandbox, environment))
        watched = {*required(sandbox.environment.alarms).metrics} - {"DatabaseMemoryUsagePercentage"}
        made.enter_context(reconfigured(sandbox, alarms={"metrics": sorted({*watched, "BytesUsedForCache"})}))
        yield


@contextmanager
def _serverless(sandbox: Sandbox, environment: Environment) -> Iterator[None]:
    cache, group = required(environment.cache), _group(sandbox, environment)
    name, where = cache.replication_group, region(sandbox)
    groups = sandbox.aws("ec2").describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [cache.security_group]}]
    )["SecurityGroups"]
    subnets = sandbox.aws("elasticache").describe_cache_subnet_groups(CacheSubnetGroupName=name)["CacheSubnetGroups"][
        0
    ]["Subnets"]
    shown = {
        "Status": "available",
        "Engine": "valkey",
        "MajorEngineVersion": "8",
        "FullEngineVersion": "8.1",
        "Endpoint": group["NodeGroups"][0]["PrimaryEndpoint"],
        "SecurityGroupIds": [g["GroupId"] for g in groups],
        "SubnetIds": [s["SubnetIdentifier"] for s in subnets],
        "UserGroupId": "gli",
        "SnapshotRetentionLimit": 7,
    }
    with ExitStack() as played:
        played.enter_context(_alarms_on(sandbox, group["MemberClusters"], name))
        played.enter_context(overlaid(sandbox, "serverless-cache", region=where, name=name, shown=shown))
        played.enter_context(overlaid(sandbox, "replication-group-aside", region=where, name=name, aside=True))
        values = {"BytesUsedForCache": 1e7, "Evictions": 0.0, "ThrottledCmds": 0.0}
        played.enter_context(_measured(sandbox, "AWS/ElastiCache", {"clusterId": name}, **values))
        yield


@contextmanager
def _alarms_on(sandbox: Sandbox, nodes: list[str], cache: str) -> Iterator[None]:
    """Let the alarms of these nodes watch a serverless cache, by the metric that one has."""
    cloudwatch = sandbox.aws("cloudwatch")
    about = [
        {key: value for key, value in alarm.items() if key in _OF_AN_ALARM}
        for alarm in cloudwatch.describe_alarms()["MetricAlarms"]
        if any(d["Value"] in nodes for d in alarm.get("Dimensions") or [])
    ]
    for alarm in about:
        where = [{"Name": "clusterId", "Value": cache}]
        size = {"MetricName": "BytesUsedForCache", "Threshold": 4e9}
        cloudwatch.put_metric_alarm(**{**alarm, **size, "Dimensions": where})
    try:
        yield
    finally:
        for alarm in about:
            cloudwatch.put_metric_alarm(**alarm)


_OF_AN_ALARM = (
    *("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods", "Threshold"),
    *("ComparisonOperator", "TreatMissingData", "ActionsEnabled", "AlarmActions", "OKActions"),
)


@variant("alarm-on-a-quiet-balancer", tries=["alarms-quiet"])
def alarm_on_a_quiet_balancer(sandbox: Sandbox) -> Iterator[None]:
    """The alarm on errors has had no data for a day: there was no error, and a load balancer sends no zeros."""
    prefix = required(sandbox.environment.alarms).prefix
    found = sandbox.aws("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    name = next(a["AlarmName"] for a in found if a["MetricName"] == "HTTPCode_Target_5XX_Count")
    undo = sandbox.aws_overlay("alarm", region=region(sandbox), name=name, state="INSUFFICIENT_DATA", since_s=86_400.0)
    yield
    sandbox.aws_overlay("alarm", **undo)
