"""RDS, ElastiCache, S3 and scaling with answers of real accounts: healthy states pass, new states are unknown."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_answers import ACCOUNT, Answer, AwsRefusal, answering, observed, staging

from gli.config.data_tier import Cache, Database
from gli.config.environments import Environment
from gli.config.services import Frontend
from gli.observe.aws.autoscaling import scaling_policies
from gli.observe.aws.data_tier import endpoints
from gli.observe.aws.ec2_security_groups import Opening, SecurityGroup, SecurityGroups
from gli.observe.aws.elasticache import ReplicationGroup, cache_groups, replication_group
from gli.observe.aws.mq import BrokerNetwork
from gli.observe.aws.rds import DatabaseInstance, database_instance, newest_snapshot
from gli.observe.aws.s3 import bucket_settings, closed_key, public_access_block
from gli.observe.data.places import database_place
from gli.observe.data.secrets import secret
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.probe import Observer, probe
from tests_infra import test_data as data
from tests_infra import test_network as network


@probe()
async def place(observer: Observer, secret_id: str) -> tuple[str, int]:
    """The host and the port at which the suite logs in to the database with a secret."""
    found = await database_place(observer, database(observer.environment), secret_id)
    return found.host, found.port


NOW = datetime.now(UTC)
ADDRESS = "stg-gli-database.abc.ap-northeast-2.rds.amazonaws.com"
CLUSTER = "stg-gli-database.cluster-abc.ap-northeast-2.rds.amazonaws.com"
READER = CLUSTER.replace(".cluster-", ".cluster-ro-")


def database(environment: Environment) -> Database:
    assert environment.database is not None
    return environment.database


def cache(environment: Environment) -> Cache:
    assert environment.cache is not None
    return environment.cache


def instance(id_: str = "stg-gli-database", **changes: Any) -> dict[str, Any]:
    return {
        "DBInstanceIdentifier": id_,
        "DBInstanceStatus": "available",
        "Engine": "postgres",
        "EngineVersion": "18.1",
        "Endpoint": {"Address": ADDRESS, "Port": 5432},
        "DBSubnetGroup": {"VpcId": "vpc-1", "Subnets": [{"SubnetIdentifier": "subnet-1"}]},
        "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1", "Status": "active"}],
        "StorageEncrypted": True,
        "PubliclyAccessible": False,
        "MultiAZ": False,
        "BackupRetentionPeriod": 7,
        "DBInstanceClass": "db.m7g.large",
        "DBParameterGroups": [{"DBParameterGroupName": "postgres18", "ParameterApplyStatus": "in-sync"}],
        "ReadReplicaDBInstanceIdentifiers": [],
        **changes,
    }


def cluster(id_: str = "stg-gli-cluster", writer: str = "stg-gli-database", **changes: Any) -> dict[str, Any]:
    members = [{"DBInstanceIdentifier": writer, "IsClusterWriter": True, "DBClusterParameterGroupStatus": "in-sync"}]
    members.append(
        {"DBInstanceIdentifier": "reader", "IsClusterWriter": False, "DBClusterParameterGroupStatus": "in-sync"}
    )
    return {
        "DBClusterIdentifier": id_,
        "Status": "available",
        "Engine": "aurora-postgresql",
        "EngineVersion": "17.4",
        "Endpoint": CLUSTER,
        "ReaderEndpoint": READER,
        "Port": 5432,
        "DeletionProtection": True,
        "StorageEncrypted": True,
        "MultiAZ": True,
        "BackupRetentionPeriod": 7,
        "LatestRestorableTime": datetime.now(UTC) - timedelta(minutes=2),
        "DBClusterMembers": members,
        **changes,
    }


def rds(instances: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> dict[tuple[str, str], Answer]:
    def of(known: list[dict[str, Any]], key: str) -> Any:
        def found(asked: dict[str, Any]) -> Any:
            wanted = asked["Filters"][0]["Values"]
            return {f"{key.removesuffix('Identifier')}s": [i for i in known if i[key] in wanted]}

        return found

    return {
        ("rds", "DescribeDBInstances"): of(instances, "DBInstanceIdentifier"),
        ("rds", "DescribeDBClusters"): of(clusters, "DBClusterIdentifier"),
    }


AURORA = {"Engine": "aurora-postgresql", "EngineVersion": "17.4", "DBClusterIdentifier": "stg-gli-cluster"}


@pytest.mark.parametrize("named", ["stg-gli-database", "stg-gli-cluster"])
def test_a_cluster_is_described_by_its_writer_and_the_settings_of_the_cluster(named: str) -> None:
    """environments.toml may name the cluster or the instance. Only the cluster has backups, protection and zones."""
    environment = staging(counterpart=None)
    wanted = database(environment).model_copy(update={"instance": named})
    environment = environment.model_copy(update={"database": wanted})
    with answering(rds([instance(**AURORA)], [cluster()])):
        found: DatabaseInstance = observed(environment, database_instance, wanted)
    assert (found.id, found.cluster, found.address) == ("stg-gli-database", "stg-gli-cluster", CLUSTER)
    assert set(found.hosts) == {ADDRESS, CLUSTER, READER}
    data.test_db_instance_available(found)
    data.test_db_protection(found, environment.model_copy(update={"production": True}))
    data.test_db_backup_pitr(found, wanted)
    assert found.aurora


def test_an_empty_structure_or_list_of_pending_changes_is_no_change() -> None:
    environment = staging()
    waiting = {"ProcessorFeatures": [], "PendingCloudwatchLogsExports": {}, "DBInstanceClass": "db.m7g.xlarge"}
    with answering(rds([instance(PendingModifiedValues=waiting)], [])):
        assert observed(environment, database_instance, database(environment)).pending == ("DBInstanceClass",)


def test_a_cluster_that_does_not_serve_is_red() -> None:
    environment = staging(counterpart=None)
    with answering(rds([instance(**AURORA)], [cluster(Status="failing-over")])):
        found = observed(environment, database_instance, database(environment))
    with pytest.raises(AssertionError, match="failing-over"):
        data.test_db_instance_available(found)


def test_the_snapshots_of_a_cluster_are_the_clusters_own() -> None:
    environment = staging(counterpart=None)
    snapshot = {
        "DBClusterSnapshotIdentifier": "before",
        "DBClusterIdentifier": "stg-gli-cluster",
        "Status": "available",
        "SnapshotCreateTime": NOW,
    }
    answers = rds([instance(**AURORA)], [cluster()])
    answers[("rds", "DescribeDBClusterSnapshots")] = {"DBClusterSnapshots": [snapshot]}
    with answering(answers):
        data.test_db_predeploy_snapshot(observed(environment, newest_snapshot, database(environment)))


def test_a_snapshot_of_aws_backup_counts() -> None:
    environment = staging(counterpart=None)
    kept = {
        "DBSnapshotIdentifier": "awsbackup:job-1",
        "DBInstanceIdentifier": "stg-gli-database",
        "Status": "available",
        "SnapshotCreateTime": NOW,
    }

    def snapshots(asked: dict[str, Any]) -> Any:
        return {"DBSnapshots": [kept] if asked.get("SnapshotType") == "awsbackup" else []}

    with answering(rds([instance()], []) | {("rds", "DescribeDBSnapshots"): snapshots}):
        data.test_db_predeploy_snapshot(observed(environment, newest_snapshot, database(environment)))


@pytest.mark.parametrize(
    "status",
    [
        *("available", "backing-up", "modifying", "configuring-enhanced-monitoring", "configuring-log-exports"),
        *("configuring-iam-database-auth", "resetting-master-credentials", "storage-initialization"),
        "storage-optimization",
    ],
)
def test_a_busy_database_is_available(status: str) -> None:
    data.test_db_instance_available(DatabaseInstance(id="x", status=status))


@pytest.mark.parametrize("status", ["stopped", "storage-full", "incompatible-network", "missing"])
def test_a_database_that_does_not_serve_is_red(status: str) -> None:
    with pytest.raises(AssertionError, match=status):
        data.test_db_instance_available(DatabaseInstance(id="x", status=status))


def test_an_unknown_database_state_is_unknown() -> None:
    with pytest.raises(Unobserved, match="is dreaming, a state not known here"):
        data.test_db_instance_available(DatabaseInstance(id="x", status="dreaming"))
    with pytest.raises(Unobserved, match="is dreaming, a state not known here"):
        data.test_redis_available(ReplicationGroup(id="x", status="dreaming"))


# Caches


def none(code: str) -> Answer:
    def refuse(_: dict[str, Any]) -> Any:
        raise AwsRefusal(code)

    return refuse


NO_GROUP: dict[tuple[str, str], Answer] = {
    ("elasticache", "DescribeReplicationGroups"): none("ReplicationGroupNotFoundFault")
}
SERVERLESS = {
    "ServerlessCacheName": "stg-gli-redis",
    "Status": "available",
    "Engine": "valkey",
    "MajorEngineVersion": "8",
    "FullEngineVersion": "8.1",
    "Endpoint": {"Address": "stg-gli-redis-abc.serverless.apn2.cache.amazonaws.com", "Port": 6379},
    "ReaderEndpoint": {"Address": "stg-gli-redis-abc.serverless.apn2.cache.amazonaws.com", "Port": 6380},
    "SecurityGroupIds": ["sg-7"],
    "UserGroupId": "gli",
    "SnapshotRetentionLimit": 1,
}


def test_a_serverless_cache_is_a_cache() -> None:
    environment = staging()
    answers = NO_GROUP | {("elasticache", "DescribeServerlessCaches"): {"ServerlessCaches": [SERVERLESS]}}
    with answering(answers):
        found: ReplicationGroup = observed(environment, replication_group, cache(environment))
        groups = observed(environment, cache_groups, cache(environment))
    data.test_redis_available(found)
    data.test_redis_encryption_auth(found)
    data.test_redis_failover(found, environment.model_copy(update={"production": True}))
    assert (groups, found.engine) == (("sg-7",), "valkey 8.1")


def group(**changes: Any) -> dict[tuple[str, str], Answer]:
    node = {"NodeGroupId": "0001", "PrimaryEndpoint": {"Address": "master.x.cache.amazonaws.com", "Port": 6379}}
    shown = {
        "ReplicationGroupId": "stg-gli-redis",
        "Status": "available",
        "NodeGroups": [node],
        "MemberClusters": ["stg-gli-redis-001"],
        "TransitEncryptionEnabled": True,
        "AtRestEncryptionEnabled": True,
        "AutomaticFailover": "enabled",
        **changes,
    }
    return {("elasticache", "DescribeReplicationGroups"): {"ReplicationGroups": [shown]}}


def test_in_cluster_mode_the_configuration_endpoint_leads_to_the_cache() -> None:
    environment = staging()
    configuration = {"Address": "clustercfg.x.cache.amazonaws.com", "Port": 6379}
    shards = [{"NodeGroupId": f"000{n}"} for n in range(3)]
    with answering(group(ConfigurationEndpoint=configuration, NodeGroups=shards, ClusterEnabled=True)):
        found: ReplicationGroup = observed(environment, replication_group, cache(environment))
    assert (found.address, found.hosts) == ("clustercfg.x.cache.amazonaws.com", ("clustercfg.x.cache.amazonaws.com",))


def test_a_cache_with_a_token_has_no_users() -> None:
    environment = staging()
    with answering(group(AuthTokenEnabled=True)):
        assert observed(environment, replication_group, cache(environment)).token
    with answering(group(AuthTokenEnabled=True, UserGroupIds=["gli"])):
        assert not observed(environment, replication_group, cache(environment)).token


def test_a_single_node_without_a_group_is_a_cache() -> None:
    environment = staging()
    node = {
        "CacheClusterId": "stg-gli-redis",
        "CacheClusterStatus": "available",
        "Engine": "valkey",
        "CacheNodes": [{"CacheNodeId": "0001", "Endpoint": {"Address": "one.cache.amazonaws.com", "Port": 6379}}],
    }
    answers = NO_GROUP | {
        ("elasticache", "DescribeServerlessCaches"): none("ServerlessCacheNotFoundFault"),
        ("elasticache", "DescribeCacheClusters"): {"CacheClusters": [node]},
    }
    with answering(answers):
        found: ReplicationGroup = observed(environment, replication_group, cache(environment))
    assert (found.status, found.hosts) == ("available", ("one.cache.amazonaws.com",))


# Secrets that lead to the data tier

PROXY = "gli.proxy-abc.ap-northeast-2.rds.amazonaws.com"
READ_ONLY_PROXY = "gli-read.endpoint.proxy-abc.ap-northeast-2.rds.amazonaws.com"
MANAGED = "rds!db-1b2c3d4e"


def secret_of(environment: Environment, id_: str, **fields: str) -> dict[tuple[str, str], Answer]:
    """Every secret is a login at the right host; `fields` are those of this one, and nothing else."""

    def values(asked: dict[str, Any]) -> Any:
        login = {"username": "gli", "password": "secret", "host": ADDRESS, "port": "5432"}
        if environment.cache is not None:
            caches = dict.fromkeys((environment.cache.secret, environment.cache.verify_secret), MASTER)
        else:
            caches = {}
        texts = {name: login | ({"host": caches[name]} if name in caches else {}) for name in asked["SecretIdList"]}
        texts |= {id_: fields} if id_ in texts else {}
        return {"SecretValues": [{"Name": name, "SecretString": json.dumps(text)} for name, text in texts.items()]}

    return {("secretsmanager", "BatchGetSecretValue"): values}


MASTER = "master.x.cache.amazonaws.com"


def proxied(*targets: dict[str, str]) -> dict[tuple[str, str], Answer]:
    endpoint = {"DBProxyEndpointName": "gli-read", "DBProxyName": "gli", "Endpoint": READ_ONLY_PROXY}
    return {
        ("rds", "DescribeDBProxies"): {"DBProxies": [{"DBProxyName": "gli", "Endpoint": PROXY}]},
        ("rds", "DescribeDBProxyEndpoints"): {"DBProxyEndpoints": [endpoint]},
        ("rds", "DescribeDBProxyTargets"): {"Targets": list(targets)},
    }


def check_secret(environment: Environment, id_: str, answers: dict[tuple[str, str], Answer]) -> None:
    """Run secret-fields for one secret."""
    with answering(answers):
        found = observed(environment, secret, id_)
        data.test_secret_fields(found, environment, observed(environment, endpoints))


@pytest.mark.parametrize(
    ("field", "value", "red"),
    [
        ("secret_key", "changeme", True),
        ("secret_key", "CHANGE_ME", True),
        ("secret_key", "undefined", True),
        ("secret_key", "${SECRET_KEY}", True),
        ("admin_password", "{{ password }}", True),
        ("secret_key", "change-me-not", False),
        ("secret_key", "null-and-void", False),
        ("stripe_api_key", "dummy", False),
        ("proxy_mode", "none", False),
    ],
)
def test_a_word_of_a_template_is_no_value(field: str, value: str, red: bool) -> None:
    """Keys of other services may be dummies in staging."""
    environment = staging(counterpart=None, database=None, cache=None)
    with pytest.raises(AssertionError, match=field) if red else nullcontext():
        check_secret(environment, "stg/gli/api", secret_of(environment, "stg/gli/api", **{field: value}))


@pytest.mark.parametrize("host", [PROXY, READ_ONLY_PROXY])
@pytest.mark.parametrize("key", ["RdsResourceId", "TrackedClusterId"])
def test_a_secret_may_lead_to_a_proxy_of_the_database(host: str, key: str) -> None:
    environment = staging(counterpart=None, cache=None)
    id_ = database(environment).secret
    login = {"username": "gli", "password": "secret", "host": host, "port": "5432"}
    answers = rds([instance()], []) | secret_of(environment, id_, **login)
    check_secret(environment, id_, answers | proxied({key: "stg-gli-database"}))
    with pytest.raises(AssertionError, match="to lead to"):
        check_secret(environment, id_, answers | proxied({key: "prod-gli-database"}))


def test_a_secret_that_rds_manages_holds_a_user_and_a_password_only() -> None:
    environment = staging(counterpart=None, cache=None)
    managed = database(environment).model_copy(update={"secret": MANAGED})
    environment = environment.model_copy(update={"database": managed})
    answers = rds([instance()], [])
    check_secret(environment, MANAGED, answers | secret_of(environment, MANAGED, username="gli", password="secret"))
    with pytest.raises(AssertionError, match="no username"):
        check_secret(environment, MANAGED, answers | secret_of(environment, MANAGED, password="secret"))
    with answering(answers | secret_of(environment, MANAGED, username="gli", password="secret")):
        assert observed(environment, place, MANAGED) == (ADDRESS, 5432)


def test_an_ordinary_secret_without_a_host_is_red() -> None:
    environment = staging(counterpart=None, cache=None)
    id_ = database(environment).secret
    answers = rds([instance()], []) | secret_of(environment, id_, username="gli", password="secret")
    with pytest.raises(AssertionError, match="no host and port"):
        check_secret(environment, id_, answers)


@pytest.mark.parametrize(("users", "complete"), [([], True), (["gli"], False)])
def test_the_secret_of_a_cache_with_a_token_needs_no_user(users: list[str], complete: bool) -> None:
    environment = staging(counterpart=None, database=None)
    id_ = cache(environment).secret
    login = {"password": "token", "host": MASTER, "port": "6379"}
    answers = group(AuthTokenEnabled=True, UserGroupIds=users) | secret_of(environment, id_, **login)
    with nullcontext() if complete else pytest.raises(AssertionError, match="no username"):
        check_secret(environment, id_, answers)


# The broker's console


@pytest.mark.parametrize("port", [443, 15671])
def test_a_console_of_the_broker_that_strangers_reach_is_red(port: int) -> None:
    """Amazon MQ serves the console of RabbitMQ on 443."""
    environment = staging()
    broker = environment.broker
    assert broker is not None and broker.security_group is not None

    def groups(*ports: int) -> SecurityGroups:
        world = [("0.0.0.0/0", "0.0.0.0/0", p) for p in ports]
        friends = [(name, f"sg-{n}", 5671) for n, name in enumerate(broker.ingress_from)]
        openings = [
            Opening(source=source, source_id=id_, protocol="tcp", first_port=p, last_port=p)
            for source, id_, p in (*world, *friends)
        ]
        own = SecurityGroup(id="sg-9", name=str(broker.security_group), openings=tuple(openings))
        return SecurityGroups(vpc="vpc-1", groups=(own,))

    private = BrokerNetwork(groups=("sg-9",), public=False)
    network.test_sg_mq_ingress(groups(), ("sg-9",), private, broker)
    with pytest.raises(AssertionError, match=rf"{port} open to 0\.0\.0\.0/0"):
        network.test_sg_mq_ingress(groups(port), ("sg-9",), private, broker)


# Buckets and scaling


def frontend(environment: Environment) -> Frontend:
    return environment.frontends["user"]


@pytest.mark.parametrize(
    ("rules", "encryption"),
    [
        ([{"BucketKeyEnabled": True}], "AES256"),
        ([{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}], "aws:kms"),
        ([{"BucketKeyEnabled": True}, {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}], "aws:kms"),
    ],
)
def test_an_encryption_rule_may_name_no_algorithm(rules: list[dict[str, Any]], encryption: str) -> None:
    environment = staging()
    answers: dict[tuple[str, str], Answer] = {
        ("s3", "GetBucketVersioning"): {"Status": "Enabled"},
        ("s3", "GetBucketEncryption"): {"ServerSideEncryptionConfiguration": {"Rules": rules}},
    }
    with answering(answers):
        assert observed(environment, bucket_settings, frontend(environment)).encryption == encryption


OWN = f"arn:aws:kms:ap-northeast-2:{ACCOUNT}:key/1234abcd"
CLOUDFRONT = {"Service": "cloudfront.amazonaws.com"}
ACCOUNT_ITSELF = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}


@pytest.mark.parametrize(
    ("rule", "principal", "actions", "said"),
    [
        ({"SSEAlgorithm": "AES256"}, ACCOUNT_ITSELF, "kms:*", None),
        ({"SSEAlgorithm": "aws:kms"}, CLOUDFRONT, "kms:*", "AWS's own key"),
        ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/aws/s3"}, CLOUDFRONT, "kms:*", "AWS's own key"),
        ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OWN}, ACCOUNT_ITSELF, "kms:*", "lets CloudFront not decrypt"),
        ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OWN}, CLOUDFRONT, "kms:Encrypt", "lets CloudFront not decrypt"),
        ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OWN}, CLOUDFRONT, ["kms:Decrypt", "kms:Encrypt"], None),
        ({"SSEAlgorithm": "aws:kms:dsse", "KMSMasterKeyID": "alias/own"}, CLOUDFRONT, "kms:Decrypt*", None),
        ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OWN.replace(ACCOUNT, "9" * 12)}, {}, "kms:*", None),
    ],
)
def test_what_is_uploaded_under_a_key_can_be_served(
    rule: dict[str, str], principal: dict[str, str], actions: Any, said: str | None
) -> None:
    """A key of another account can't be asked for its policy."""
    environment = staging()
    policy = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*"}]}
    configuration = {"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]}
    answers: dict[tuple[str, str], Answer] = {
        ("s3", "HeadBucket"): {"BucketRegion": "us-east-1"},
        ("s3", "GetBucketVersioning"): {"Status": "Enabled"},
        ("s3", "GetBucketEncryption"): {"ServerSideEncryptionConfiguration": configuration},
        ("kms", "DescribeKey"): {"KeyMetadata": {"KeyId": "1234abcd", "Arn": OWN, "KeyState": "Enabled"}},
        ("kms", "GetKeyPolicy"): {"Policy": json.dumps(policy)},
        ("sts", "GetCallerIdentity"): {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify/x"},
    }
    with answering(answers):
        found = observed(environment, closed_key, frontend(environment))
    assert found is None if said is None else said in str(found)


ALL = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@pytest.mark.parametrize(
    ("own", "everywhere", "off"),
    [((), ALL, ()), (ALL[:2], ALL[2:], ()), (ALL[:2], (), ALL[2:]), (ALL, None, ()), ((), None, ALL)],
)
def test_the_public_access_block_of_the_account_covers_its_buckets(
    own: tuple[str, ...], everywhere: tuple[str, ...] | None, off: tuple[str, ...]
) -> None:
    environment = staging()

    def blocks(on: tuple[str, ...] | None) -> Answer:
        if on is None:
            return none("NoSuchPublicAccessBlockConfiguration")
        return {"PublicAccessBlockConfiguration": {setting: setting in on for setting in ALL}}

    answers: dict[tuple[str, str], Answer] = {
        ("s3", "GetPublicAccessBlock"): blocks(own),
        ("s3control", "GetPublicAccessBlock"): blocks(everywhere),
        ("sts", "GetCallerIdentity"): {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/gli-verify/x"},
    }
    with answering(answers):
        assert observed(environment, public_access_block, frontend(environment)).off == off


def test_a_policy_on_metric_math_follows_its_metrics() -> None:
    environment = staging()
    stat = {"Metric": {"Namespace": "AWS/ApplicationELB", "MetricName": "RequestCountPerTarget"}, "Stat": "Sum"}
    math = [{"Id": "e1", "Expression": "m1 / 60"}, {"Id": "m1", "MetricStat": stat}]
    policy = {
        "PolicyARN": "arn:aws:autoscaling:ap-northeast-2:123456789012:scalingPolicy:x",
        "PolicyName": "requests",
        "ServiceNamespace": "ecs",
        "ResourceId": "service/gli-api-cluster/stg-gli-api",
        "ScalableDimension": "ecs:service:DesiredCount",
        "PolicyType": "TargetTrackingScaling",
        "CreationTime": NOW,
        "Alarms": [],
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 60.0,
            "CustomizedMetricSpecification": {"Metrics": math},
        },
    }
    with answering({("application-autoscaling", "DescribeScalingPolicies"): {"ScalingPolicies": [policy]}}):
        (found,) = observed(environment, scaling_policies)["api"]
    assert found.follows_load
