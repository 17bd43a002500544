"""Read only: everything that a run asks of its target passes one of these functions before it is sent.

This holds for AWS operations, SQL statements, Redis commands, AMQP and HTTP methods, and git commands. The lists name
what is allowed, one by one, and the comparison is exact: a prefix such as `Get*` would let `sts:GetSessionToken` and
`ecr:GetAuthorizationToken` through, and `SELECT pg_terminate_backend(1)` begins with SELECT. The roles of the runner
are the boundary; the guards make a mistake in a probe harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gli.observe.engine.sql import SQL_PIECES, SQL_READS

if TYPE_CHECKING:
    from psycopg.sql import Composable, Composed

AWS_READS: Mapping[str, frozenset[str]] = {
    "acm": frozenset({"DescribeCertificate"}),
    "application-autoscaling": frozenset(
        {"DescribeScalableTargets", "DescribeScalingPolicies", "DescribeScheduledActions"}
    ),
    "cloudfront": frozenset({"GetDistribution", "ListDistributions", "ListInvalidations"}),
    "cloudwatch": frozenset({"DescribeAlarms", "GetMetricData", "ListDashboards"}),
    "codedeploy": frozenset({"GetDeployment", "GetDeploymentGroup"}),
    "ec2": frozenset(
        {
            "DescribeDhcpOptions",
            "DescribeNatGateways",
            "DescribeNetworkAcls",
            "DescribeSecurityGroups",
            "DescribeSubnets",
            "DescribeRouteTables",
            "DescribeVpcAttribute",
            "DescribeVpcEndpoints",
            "DescribeVpcs",
            "GetManagedPrefixListEntries",
        }
    ),
    "ecr": frozenset(
        {
            "BatchGetImage",
            "BatchGetRepositoryScanningConfiguration",
            "DescribeImageScanFindings",
            "DescribeRepositories",
            "GetLifecyclePolicy",
            "GetRepositoryPolicy",
        }
    ),
    "ecs": frozenset(
        {
            "DescribeClusters",
            "DescribeServiceRevisions",
            "DescribeServices",
            "DescribeTaskDefinition",
            "DescribeTasks",
            "ListServiceDeployments",
            "ListTasks",
        }
    ),
    "elasticache": frozenset(
        {"DescribeCacheClusters", "DescribeCacheSubnetGroups", "DescribeReplicationGroups", "DescribeServerlessCaches"}
    ),
    "elbv2": frozenset(
        {
            "DescribeListenerCertificates",
            "DescribeListeners",
            "DescribeLoadBalancerAttributes",
            "DescribeLoadBalancers",
            "DescribeRules",
            "DescribeTargetGroupAttributes",
            "DescribeTargetGroups",
            "DescribeTargetHealth",
        }
    ),
    "iam": frozenset({"GetAccountAuthorizationDetails"}),
    "kms": frozenset({"DescribeKey", "GetKeyPolicy"}),
    "logs": frozenset(
        {"DescribeLogGroups", "DescribeLogStreams", "DescribeMetricFilters", "FilterLogEvents", "TestMetricFilter"}
    ),
    "mq": frozenset({"DescribeBroker", "ListBrokers"}),
    "rds": frozenset(
        {
            "DescribeDBClusterSnapshots",
            "DescribeDBClusters",
            "DescribeDBInstances",
            "DescribeDBProxies",
            "DescribeDBProxyEndpoints",
            "DescribeDBProxyTargets",
            "DescribeDBSnapshots",
            "DescribePendingMaintenanceActions",
        }
    ),
    "route53": frozenset({"ListHostedZonesByName", "ListResourceRecordSets"}),
    "s3": frozenset(
        {
            "GetBucketEncryption",
            "GetBucketLifecycleConfiguration",
            "GetBucketVersioning",
            "GetBucketPolicy",
            "GetPublicAccessBlock",
            "HeadBucket",
            "HeadObject",
            "ListObjectsV2",
        }
    ),
    "s3control": frozenset({"GetPublicAccessBlock"}),
    "secretsmanager": frozenset({"BatchGetSecretValue", "ListSecrets"}),
    "service-quotas": frozenset({"GetAWSDefaultServiceQuota", "GetServiceQuota"}),
    "sns": frozenset({"GetSubscriptionAttributes", "GetTopicAttributes", "ListSubscriptionsByTopic"}),
    "ssm": frozenset({"DescribeParameters", "GetParameters", "GetParametersByPath"}),
    "sts": frozenset({"GetCallerIdentity"}),
}
"""The AWS operations of a run."""
DISCOVERY_READS: Mapping[str, frozenset[str]] = {
    "cloudfront": frozenset({"ListDistributions"}),
    "cloudwatch": frozenset({"DescribeAlarms", "ListDashboards"}),
    "ec2": frozenset({"DescribeSecurityGroups"}),
    "ecs": frozenset({"DescribeServices", "DescribeTaskDefinition", "ListClusters", "ListServices"}),
    "elasticache": frozenset({"DescribeCacheClusters", "DescribeReplicationGroups", "DescribeServerlessCaches"}),
    "elbv2": frozenset({"DescribeListeners", "DescribeLoadBalancers", "DescribeRules", "DescribeTargetGroups"}),
    "logs": frozenset({"DescribeLogGroups"}),
    "mq": frozenset({"DescribeBroker", "ListBrokers"}),
    "rds": frozenset({"DescribeDBClusters", "DescribeDBInstances"}),
    "route53": frozenset({"ListHostedZonesByName", "ListResourceRecordSets"}),
    "secretsmanager": frozenset({"ListSecrets"}),
    "ssm": frozenset({"DescribeParameters"}),
    "sts": frozenset({"GetCallerIdentity"}),
}
"""The AWS operations of `gli discover`, which lists an account that nothing describes yet, and reads no secret."""
REDIS_READS = frozenset({"ACL DRYRUN", "INFO", "PING"})
"""In addition, redis-py sends AUTH when it connects."""
AMQP_READS = frozenset(
    {
        *("Connection.StartOk", "Connection.TuneOk", "Connection.Open", "Connection.Close", "Connection.CloseOk"),
        *("Channel.Open", "Channel.Close", "Channel.CloseOk"),
        "Queue.Declare",  # passive only: it creates nothing (AMQP 0-9-1, queue.declare)
    }
)
GIT_READS = frozenset(
    {
        *("ls-remote", "fetch"),
        *("cat-file", "commit-tree", "diff-tree", "for-each-ref", "ls-tree", "merge-tree", "rev-list", "rev-parse"),
    }
)
"""Only the first two ask a remote. The others work on the run's own temporary copy."""
HTTP_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteRefused(Exception):
    """Something that is not on the list of reads was about to be sent. It was not sent."""


def refuse_aws_writes(model: Any, *, reads: Mapping[str, frozenset[str]] = AWS_READS, **_: Any) -> None:
    """Handles botocore's `before-call` event, which comes before each request of clients, paginators and waiters.
    `reads` is one of the two lists above.
    """
    service, operation = model.service_model.service_name, model.name
    if operation not in reads.get(service, frozenset()):
        raise WriteRefused(f"{service}:{operation} is not on the list of reads in gli/observe/engine/guard.py")


def refuse_sql_writes(statement: str | Composed) -> None:
    """Allows only the statements of SQL_READS as they are, and statements composed of SQL_PIECES, names and whole
    numbers. In addition, the session is read-only, and the role may only read.
    """
    listed = statement in SQL_READS if isinstance(statement, str) else all(map(_is_listed, _pieces(statement)))
    if not listed:
        shown = str(statement)[:60]
        raise WriteRefused(f"the statement is not on the list of reads in gli/observe/engine/sql.py: {shown}")


def _pieces(composed: Composed) -> Iterator[Composable]:
    from psycopg.sql import Composed

    for piece in composed:
        if isinstance(piece, Composed):
            yield from _pieces(piece)
        else:
            yield piece


def _is_listed(piece: Composable) -> bool:
    from psycopg.sql import SQL, Identifier, Literal

    value = piece._obj
    if type(piece) is SQL:
        return value in SQL_PIECES
    return type(piece) is Identifier or (type(piece) is Literal and type(value) is int)


def refuse_redis_writes(command: str) -> None:
    """Allows only the commands of REDIS_READS."""
    if command not in REDIS_READS:
        raise WriteRefused(f"Redis command {command} is not on the list of reads in gli/observe/engine/guard.py")


def refuse_amqp_writes(method: Any) -> None:
    """Allows only the methods of AMQP_READS; `method` is one of `pika.spec`."""
    if method.NAME not in AMQP_READS or (method.NAME == "Queue.Declare" and not method.passive):
        raise WriteRefused(f"AMQP method {method.NAME} is not on the list of reads in gli/observe/engine/guard.py")


def refuse_git_writes(command: str) -> None:
    """Allows only the commands of GIT_READS."""
    if command not in GIT_READS:
        raise WriteRefused(f"git {command} is not on the list of reads in gli/observe/engine/guard.py")


def refuse_http_writes(method: str) -> None:
    """Allows only the safe methods of RFC 9110 section 9.2.1."""
    if method not in HTTP_READS:
        raise WriteRefused(f"HTTP method {method} may change the target")
