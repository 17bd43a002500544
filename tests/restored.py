"""Settings of the sandbox's AWS, read and written with boto3 as a template that is applied again does.

    kept = read(sandbox)         # before somebody changes something
    write(sandbox, kept)         # what a remedy calls "restore"

Each kind reads what AWS describes, and writes it with the operation that an engineer would use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conftest import Sandbox

EDGE = "us-east-1"
State = Any


@dataclass(frozen=True)
class Kind:
    """One kind of settings."""

    read: Callable[[Sandbox], State]
    write: Callable[[Sandbox, State], None]


def _groups(sandbox: Sandbox) -> State:
    found = sandbox.aws("ec2").describe_security_groups()["SecurityGroups"]
    return {g["GroupId"]: (g["IpPermissions"], g["IpPermissionsEgress"]) for g in found}


def _write_groups(sandbox: Sandbox, kept: State) -> None:
    ec2 = sandbox.aws("ec2")
    now = _groups(sandbox)
    for group, (ingress, egress) in kept.items():
        if now.get(group, (ingress, egress)) == (ingress, egress):
            continue
        for before, after, revoke, authorize in (
            (now[group][0], ingress, ec2.revoke_security_group_ingress, ec2.authorize_security_group_ingress),
            (now[group][1], egress, ec2.revoke_security_group_egress, ec2.authorize_security_group_egress),
        ):
            if before:
                revoke(GroupId=group, IpPermissions=before)
            if after:
                authorize(GroupId=group, IpPermissions=after)


_OF_RDS = ("DeletionProtection", "MultiAZ", "PubliclyAccessible", "BackupRetentionPeriod")


def _databases(sandbox: Sandbox) -> State:
    found = sandbox.aws("rds").describe_db_instances()["DBInstances"]
    return {d["DBInstanceIdentifier"]: ({k: d[k] for k in _OF_RDS}, d["DBInstanceStatus"]) for d in found}


def _write_databases(sandbox: Sandbox, kept: State) -> None:
    rds, now = sandbox.aws("rds"), _databases(sandbox)
    for name, (settings, status) in kept.items():
        if now[name][1] != status:
            (rds.start_db_instance if status == "available" else rds.stop_db_instance)(DBInstanceIdentifier=name)
        if now[name][0] != settings:
            rds.modify_db_instance(DBInstanceIdentifier=name, ApplyImmediately=True, **settings)


def _buckets(sandbox: Sandbox) -> State:
    s3 = sandbox.aws("s3")
    return {name: _bucket(s3, name) for name in (b["Name"] for b in s3.list_buckets()["Buckets"])}


def _bucket(s3: Any, name: str) -> State:
    def asked(operation: Callable[..., Any], key: str) -> Any:
        try:
            return operation(Bucket=name).get(key)
        except s3.exceptions.ClientError:
            return None

    return (
        asked(s3.get_bucket_versioning, "Status"),
        asked(s3.get_bucket_encryption, "ServerSideEncryptionConfiguration"),
        asked(s3.get_public_access_block, "PublicAccessBlockConfiguration"),
        asked(s3.get_bucket_policy, "Policy"),
    )


def _write_buckets(sandbox: Sandbox, kept: State) -> None:
    s3 = sandbox.aws("s3")
    for name, state in kept.items():
        if _bucket(s3, name) == state:
            continue
        versioning, encryption, block, policy = state
        if versioning:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": versioning})
        if encryption:
            s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=encryption)
        else:
            s3.delete_bucket_encryption(Bucket=name)
        if block:
            s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
        if policy:
            s3.put_bucket_policy(Bucket=name, Policy=policy)


def _distributions(sandbox: Sandbox) -> State:
    cloudfront = sandbox.aws("cloudfront")
    ids = [d["Id"] for d in cloudfront.list_distributions()["DistributionList"].get("Items", [])]
    return {id_: cloudfront.get_distribution_config(Id=id_)["DistributionConfig"] for id_ in ids}


def _write_distributions(sandbox: Sandbox, kept: State) -> None:
    cloudfront = sandbox.aws("cloudfront")
    for id_, config in kept.items():
        now = cloudfront.get_distribution_config(Id=id_)
        if json.dumps(now["DistributionConfig"], sort_keys=True) != json.dumps(config, sort_keys=True):
            cloudfront.update_distribution(Id=id_, IfMatch=now["ETag"], DistributionConfig=config)


_OF_AN_ALARM = (
    *("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods", "Threshold"),
    *("ComparisonOperator", "TreatMissingData", "ActionsEnabled", "AlarmActions", "OKActions", "AlarmDescription"),
)


def _alarms(sandbox: Sandbox) -> State:
    found = sandbox.aws("cloudwatch").describe_alarms()["MetricAlarms"]
    own = [a for a in found if not a["AlarmName"].startswith("TargetTracking-")]  # scaling makes and renames the others
    return {a["AlarmName"]: {k: a[k] for k in _OF_AN_ALARM if k in a} for a in own}


def _write_alarms(sandbox: Sandbox, kept: State) -> None:
    cloudwatch, now = sandbox.aws("cloudwatch"), _alarms(sandbox)
    for name, alarm in kept.items():
        if now.get(name) != alarm:
            cloudwatch.put_metric_alarm(**alarm)
    if gone := now.keys() - kept.keys():
        cloudwatch.delete_alarms(AlarmNames=sorted(gone))


_OF_A_TARGET = ("ServiceNamespace", "ResourceId", "ScalableDimension", "MinCapacity", "MaxCapacity", "SuspendedState")
_OF_A_POLICY = ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration")


def _scaling(sandbox: Sandbox) -> State:
    scaling = sandbox.aws("application-autoscaling")
    targets = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    policies = scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    kept = (*_OF_A_TARGET[:3], *_OF_A_POLICY)
    return (
        [{k: t[k] for k in _OF_A_TARGET if k in t} for t in targets],
        [{k: p[k] for k in kept if k in p} for p in policies],
    )


def _write_scaling(sandbox: Sandbox, kept: State) -> None:
    scaling, now = sandbox.aws("application-autoscaling"), _scaling(sandbox)
    for target in kept[0]:
        if target not in now[0]:
            states = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
            scaling.register_scalable_target(**{"SuspendedState": dict.fromkeys(states, False), **target})
    for policy in kept[1]:
        if policy not in now[1]:
            scaling.put_scaling_policy(**policy)
    names = [(policy["PolicyName"], policy["ResourceId"]) for policy in kept[1]]
    for policy in now[1]:
        if (policy["PolicyName"], policy["ResourceId"]) not in names:
            scaling.delete_scaling_policy(**{k: policy[k] for k in ("PolicyName", *_OF_A_TARGET[:3])})


def _retentions(sandbox: Sandbox) -> State:
    found = sandbox.aws("logs").describe_log_groups()["logGroups"]
    return {g["logGroupName"]: g.get("retentionInDays") for g in found}


def _write_retentions(sandbox: Sandbox, kept: State) -> None:
    logs = sandbox.aws("logs")
    for name, days in kept.items():
        if days:
            logs.put_retention_policy(logGroupName=name, retentionInDays=days)
        else:
            logs.delete_retention_policy(logGroupName=name)


def _balancing(sandbox: Sandbox) -> State:
    elbv2 = sandbox.aws("elbv2")
    balancers = [b["LoadBalancerArn"] for b in elbv2.describe_load_balancers()["LoadBalancers"]]
    groups = elbv2.describe_target_groups()["TargetGroups"]
    checked = ("HealthCheckPath", "HealthCheckPort", "HealthCheckProtocol", "Matcher", "HealthCheckIntervalSeconds")
    return (
        {b: elbv2.describe_load_balancer_attributes(LoadBalancerArn=b)["Attributes"] for b in balancers},
        {
            g["TargetGroupArn"]: (
                elbv2.describe_target_group_attributes(TargetGroupArn=g["TargetGroupArn"])["Attributes"],
                {k: g[k] for k in checked if k in g},
            )
            for g in groups
        },
        {
            x["ListenerArn"]: {k: x[k] for k in ("SslPolicy", "DefaultActions", "Certificates") if x.get(k)}
            for b in balancers
            for x in elbv2.describe_listeners(LoadBalancerArn=b)["Listeners"]
        },
    )


def _write_balancing(sandbox: Sandbox, kept: State) -> None:
    elbv2, now = sandbox.aws("elbv2"), _balancing(sandbox)
    for arn, attributes in kept[0].items():
        if now[0].get(arn) != attributes:
            elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    for arn, (attributes, checks) in kept[1].items():
        if now[1].get(arn) != (attributes, checks):
            elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=attributes)
            elbv2.modify_target_group(TargetGroupArn=arn, **checks)
    for arn, listener in kept[2].items():
        if now[2].get(arn, listener) != listener:
            elbv2.modify_listener(ListenerArn=arn, **listener)


def _records(sandbox: Sandbox) -> State:
    route53 = sandbox.aws("route53")
    zones = [z["Id"] for z in route53.list_hosted_zones()["HostedZones"]]
    return {z: route53.list_resource_record_sets(HostedZoneId=z)["ResourceRecordSets"] for z in zones}


def _write_records(sandbox: Sandbox, kept: State) -> None:
    route53, now = sandbox.aws("route53"), _records(sandbox)
    for zone, records in kept.items():
        spare = [r for r in now.get(zone, records) if r not in records and r["Type"] not in ("NS", "SOA")]
        lost = [r for r in records if r not in now.get(zone, records)]
        changes = [("DELETE", r) for r in spare] + [("UPSERT", r) for r in lost]
        for action, record in changes:
            batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
            route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)


_OF_A_SERVICE = ("desiredCount", "taskDefinition", "deploymentConfiguration", "networkConfiguration")


def _services(sandbox: Sandbox) -> State:
    ecs, found = sandbox.aws("ecs"), {}
    for cluster in ecs.list_clusters()["clusterArns"]:
        if arns := ecs.list_services(cluster=cluster)["serviceArns"]:
            for service in ecs.describe_services(cluster=cluster, services=arns)["services"]:
                kept = {k: service[k] for k in _OF_A_SERVICE if k in service}
                found[cluster, service["serviceName"]] = kept
    return found


def _write_services(sandbox: Sandbox, kept: State) -> None:
    ecs, now = sandbox.aws("ecs"), _services(sandbox)
    for (cluster, service), settings in kept.items():
        if now.get((cluster, service)) != settings:
            ecs.update_service(cluster=cluster, service=service, **settings)


KINDS: Mapping[str, Kind] = {
    "security groups": Kind(_groups, _write_groups),
    "databases": Kind(_databases, _write_databases),
    "buckets": Kind(_buckets, _write_buckets),
    "distributions": Kind(_distributions, _write_distributions),
    "scaling": Kind(_scaling, _write_scaling),
    "alarms": Kind(_alarms, _write_alarms),
    "retentions": Kind(_retentions, _write_retentions),
    "balancing": Kind(_balancing, _write_balancing),
    "records": Kind(_records, _write_records),
    "services": Kind(_services, _write_services),
}


def read(sandbox: Sandbox) -> Mapping[str, State]:
    """Every setting, by kind."""
    return {name: kind.read(sandbox) for name, kind in KINDS.items()}


def write(sandbox: Sandbox, kept: Mapping[str, State]) -> None:
    """Make every setting as it was."""
    for name, kind in KINDS.items():
        kind.write(sandbox, kept[name])
