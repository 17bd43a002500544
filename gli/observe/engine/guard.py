"""Read only: every AWS operation, SQL statement, Redis command and HTTP method passes one of these before it is sent.

The lists name what is allowed, operation by operation: prefixes such as `Get*` would let `sts:GetSessionToken` and
`ecr:GetAuthorizationToken` through. The roles of the runner are the boundary; this is what makes a mistake in a
probe harmless.
"""

from __future__ import annotations

from typing import Any

AWS_READS: dict[str, frozenset[str]] = {
    "acm": frozenset({"DescribeCertificate"}),
    "application-autoscaling": frozenset({"DescribeScalableTargets", "DescribeScalingPolicies"}),
    "cloudfront": frozenset({"GetDistribution", "ListDistributions", "ListInvalidations"}),
    "cloudwatch": frozenset({"DescribeAlarms", "GetMetricData"}),
    "codedeploy": frozenset({"GetDeployment", "GetDeploymentGroup"}),
    "ec2": frozenset(
        {
            "DescribeSecurityGroups",
            "DescribeSubnets",
            "DescribeRouteTables",
            "DescribeVpcEndpoints",
            "GetManagedPrefixListEntries",
        }
    ),
    "ecr": frozenset(
        {
            "BatchGetImage",
            "BatchGetRepositoryScanningConfiguration",
            "DescribeImageScanFindings",
            "DescribeRepositories",
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
    "elasticache": frozenset({"DescribeCacheClusters", "DescribeReplicationGroups", "DescribeServerlessCaches"}),
    "elbv2": frozenset(
        {
            "DescribeListenerCertificates",
            "DescribeListeners",
            "DescribeLoadBalancerAttributes",
            "DescribeLoadBalancers",
            "DescribeRules",
            "DescribeTargetGroups",
            "DescribeTargetHealth",
        }
    ),
    "iam": frozenset({"GetAccountAuthorizationDetails"}),
    "kms": frozenset({"GetKeyPolicy"}),
    "logs": frozenset({"DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents"}),
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
            "GetBucketVersioning",
            "GetBucketPolicy",
            "GetPublicAccessBlock",
            "HeadBucket",
            "HeadObject",
        }
    ),
    "s3control": frozenset({"GetPublicAccessBlock"}),
    "secretsmanager": frozenset({"BatchGetSecretValue", "ListSecrets"}),
    "sns": frozenset({"ListSubscriptionsByTopic"}),
    "ssm": frozenset({"DescribeParameters"}),
    "sts": frozenset({"GetCallerIdentity"}),
}
REDIS_READS = frozenset({"AUTH", "HELLO", "INFO", "PING", "ROLE"})
HTTP_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteRefused(Exception):
    """Something was about to be sent that is not on the list of reads; it was not sent."""


def refuse_aws_writes(model: Any, **_: Any) -> None:
    """botocore's `before-call` event: it runs before the request is sent, for clients, paginators and waiters."""
    service, operation = model.service_model.service_name, model.name
    if operation not in AWS_READS.get(service, frozenset()):
        raise WriteRefused(f"{service}:{operation} is not on the list of reads in gli/observe/engine/guard.py")


def refuse_sql_writes(statement: str) -> None:
    """One statement that starts with SELECT or SHOW. The session is read-only too, and the role may only read."""
    text = statement.strip()
    if ";" in text or not text.upper().startswith(("SELECT ", "SHOW ", "SELECT\n")):
        raise WriteRefused(f"not a single SELECT or SHOW: {text[:60]}")


def refuse_redis_writes(command: str) -> None:
    """Only the commands of REDIS_READS."""
    if command.upper() not in REDIS_READS:
        raise WriteRefused(f"Redis command {command} is not on the list of reads in gli/observe/engine/guard.py")


def refuse_http_writes(method: str) -> None:
    """Only the safe methods of RFC 9110 section 9.2.1."""
    if method not in HTTP_READS:
        raise WriteRefused(f"HTTP method {method} may change the target")
