"""The data tier of one environment in AWS: RDS, ElastiCache, Amazon MQ, and the secrets with their logins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gli.config.environments import Environment
from sandbox.aws.account import Account
from sandbox.aws.seed_network import BROKER_PORT, CACHE_PORT, DATABASE_PORT, Network
from sandbox.site import Credentials, Login, Site, required


@dataclass(frozen=True)
class Data:
    """The endpoints of the data tier, and the ARNs of its secrets by name."""

    database_host: str
    cache_host: str
    cache_nodes: tuple[str, ...]
    broker_host: str
    secrets: Mapping[str, str]


def seed(account: Account, site: Site, environment: Environment, credentials: Credentials, network: Network) -> Data:
    """Make the instances, then the secrets that hold their endpoints."""
    database = _database(account, environment, network, site.database_name)
    cache, nodes = _cache(account, environment, network)
    broker = _broker_host(environment)
    _amazon_mq(account, environment, network, credentials.amqp)

    def login(user: Login, host: str, port: int, **more: Any) -> dict[str, Any]:
        return {"username": user.username, "password": user.password, "host": host, "port": port, **more}

    d, c, b = required(environment.database), required(environment.cache), required(environment.broker)
    opened = {"health_token": credentials.health_token, "secret_key": credentials.secret_key}
    values = {
        d.secret: login(credentials.database, database, DATABASE_PORT, dbname=site.database_name),
        d.verify_secret: login(credentials.verify_database, database, DATABASE_PORT, dbname=site.database_name),
        c.secret: login(credentials.redis, cache, CACHE_PORT, tls=True),
        c.verify_secret: login(credentials.verify_redis, cache, CACHE_PORT, tls=True),
        b.secret: login(credentials.amqp, broker, BROKER_PORT, vhost=site.vhost, tls=True),
        **{s.deep_health_secret: opened for s in environment.services.values() if s.deep_health_secret},
    }
    secretsmanager = account("secretsmanager")
    secrets = {
        name: str(secretsmanager.create_secret(Name=name, SecretString=json.dumps(value))["ARN"])
        for name, value in values.items()
    }
    return Data(database, cache, nodes, broker, secrets)


def _broker_host(environment: Environment) -> str:
    """The broker's name in GLI's own zone, which only the VPC resolves."""
    return f"{environment.name}-mq.internal.{required(environment.dns.zone)}"


def _database(account: Account, environment: Environment, network: Network, database_name: str) -> str:
    rds = account("rds")
    instance = required(environment.database).instance
    rds.create_db_subnet_group(
        DBSubnetGroupName=instance, DBSubnetGroupDescription="private subnets", SubnetIds=list(network.private)
    )
    answer = rds.create_db_instance(
        DBInstanceIdentifier=instance,
        DBName=database_name,
        Engine="postgres",
        EngineVersion="18.1",
        DBInstanceClass="db.t4g.medium",
        StorageType="gp3",
        AllocatedStorage=100,
        MaxAllocatedStorage=500,
        MasterUsername="gli_master",
        MasterUserPassword="kept-by-rds-and-used-by-nobody",
        Port=DATABASE_PORT,
        StorageEncrypted=True,
        DeletionProtection=True,
        MultiAZ=True,
        PubliclyAccessible=False,
        BackupRetentionPeriod=7,
        CACertificateIdentifier="rds-ca-rsa2048-g1",
        DBSubnetGroupName=instance,
        VpcSecurityGroupIds=[network.groups[instance]],
    )
    seed_snapshot(account, environment)
    return str(answer["DBInstance"]["Endpoint"]["Address"])


def seed_snapshot(account: Account, environment: Environment) -> None:
    """Take the manual snapshot that a release needs."""
    instance = required(environment.database).instance
    account("rds").create_db_snapshot(DBSnapshotIdentifier=f"{instance}-before-release", DBInstanceIdentifier=instance)


def _amazon_mq(account: Account, environment: Environment, network: Network, login: Login) -> None:
    """Make the broker that Amazon MQ lists; RabbitMQ on this machine answers under its name."""
    broker = required(environment.broker)
    account("mq").create_broker(
        BrokerName=required(broker.amazon_mq),
        EngineType="RabbitMQ",  # as AWS answers it; its model says RABBITMQ
        EngineVersion="4.2",
        HostInstanceType="mq.m7g.medium",
        DeploymentMode="CLUSTER_MULTI_AZ",
        PubliclyAccessible=False,
        AutoMinorVersionUpgrade=True,
        SubnetIds=list(network.private),
        SecurityGroups=[network.groups[required(broker.security_group)]],
        MaintenanceWindowStartTime={"DayOfWeek": "SUNDAY", "TimeOfDay": "18:00", "TimeZone": "UTC"},
        Users=[{"Username": login.username, "Password": login.password}],
    )


def _cache(account: Account, environment: Environment, network: Network) -> tuple[str, tuple[str, ...]]:
    elasticache = account("elasticache")
    cache = required(environment.cache)
    elasticache.create_cache_subnet_group(
        CacheSubnetGroupName=cache.replication_group,
        CacheSubnetGroupDescription="private subnets",
        SubnetIds=list(network.private),
    )
    group = elasticache.create_replication_group(
        ReplicationGroupId=cache.replication_group,
        ReplicationGroupDescription="cache and sessions",
        Engine="redis",
        EngineVersion="7.1",
        CacheNodeType="cache.t4g.small",
        NumNodeGroups=1,
        ReplicasPerNodeGroup=1,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
        TransitEncryptionEnabled=True,
        AtRestEncryptionEnabled=True,
        AuthToken="kept-by-elasticache-and-used-by-nobody",
        SnapshotRetentionLimit=7,
        CacheSubnetGroupName=cache.replication_group,
        SecurityGroupIds=[network.groups[cache.security_group]],
    )["ReplicationGroup"]
    return str(group["NodeGroups"][0]["PrimaryEndpoint"]["Address"]), tuple(group["MemberClusters"])
