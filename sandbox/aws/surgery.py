"""States of AWS that its API can't set: a failed rollout, an unhealthy target, an unconfirmed mail subscription.

Each action sets attributes of moto's own objects and returns their earlier values, as arguments that undo the action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from moto.acm.models import acm_backends
from moto.cloudfront.models import cloudfront_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.ecr.models import ecr_backends
from moto.ecs.models import ecs_backends
from moto.elasticache.models import elasticache_backends
from moto.elbv2.models import elbv2_backends
from moto.logs.models import logs_backends
from moto.mq.models import mq_backends
from moto.rds.models import rds_backends
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends

from sandbox.aws import front, measuring, patches, played_deployments, played_tasks, played_variants


def ecs_deployment(region: str, cluster: str, service: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change fields of a service's PRIMARY deployment, named as DescribeServices names them."""
    deployment = _service(region, cluster, service).deployments[0]
    before = {key: deployment.get(key) for key in changes}
    deployment.update(changes)
    return {"region": region, "cluster": cluster, "service": service, "changes": before}


def ecs_old_deployment(region: str, cluster: str, service: str, there: bool) -> dict[str, Any]:
    """Keep an ACTIVE deployment beside the PRIMARY one, as ECS does until the last old task has drained."""
    deployments = _service(region, cluster, service).deployments
    before = len(deployments) > 1
    if there and not before:
        deployments.append(
            {**deployments[0], "id": "ecs-svc/0", "status": "ACTIVE", "desiredCount": 0, "runningCount": 1}
        )
    elif not there:
        del deployments[1:]
    return {"region": region, "cluster": cluster, "service": service, "there": before}


def ecs_counts(region: str, cluster: str, service: str, running: int, pending: int) -> dict[str, Any]:
    """Set a service's running and pending counts, whatever its desired count is."""
    found = _service(region, cluster, service)
    before = {"running": found.running_count, "pending": found.pending_count}
    found.running_count, found.pending_count = running, pending
    return {"region": region, "cluster": cluster, "service": service, **before}


def ecs_cluster(region: str, cluster: str, status: str) -> dict[str, Any]:
    """Set a cluster's status."""
    found = ecs_backends[DEFAULT_ACCOUNT_ID][region].clusters[cluster]
    before, found.status = found.status, status
    return {"region": region, "cluster": cluster, "status": before}


def target_health(
    region: str, target_group: str, state: str | None = None, reason: str | None = None, description: str | None = None
) -> dict[str, Any]:
    """Put every target of a group into this state; without a state, show moto's own state again."""
    key = (region, target_group)
    before = patches.TARGET_HEALTH.pop(key, (None, None, None))
    if state is not None:
        patches.TARGET_HEALTH[key] = (state, reason, description)
    arguments = dict(zip(("state", "reason", "description"), before, strict=True))
    return {"region": region, "target_group": target_group, **arguments}


def scan_findings(
    region: str, repository: str, counts: Mapping[str, int] | None = None, status: str = "COMPLETE"
) -> dict[str, Any]:
    """Set the number of scan findings by severity for every image of a repository; without counts, moto's own."""
    for image in ecr_backends[DEFAULT_ACCOUNT_ID][region].repositories[repository].images:
        image.scan_finding_results.clear()
        image.scan_finding_results_queue.clear()
        if counts is not None:
            image.scan_finding_results_queue.append(
                {
                    "repositoryName": repository,
                    "imageId": image.image_id,
                    "imageScanStatus": {"status": status},
                    "imageScanFindings": {"findingSeverityCounts": dict(counts)},
                }
            )
    return {"region": region, "repository": repository}


def secret_rotation(region: str, name: str, rotates: bool, due: int | None = None) -> dict[str, Any]:
    """Set whether a secret rotates, and when its next rotation is due (seconds since the epoch)."""
    found = secretsmanager_backends[DEFAULT_ACCOUNT_ID][region].secrets[name]
    before = {"rotates": found.rotation_enabled, "due": found.next_rotation_date}
    found.rotation_requested = found.rotation_enabled = rotates
    found.next_rotation_date = due
    return {"region": region, "name": name, **before}


def load_balancer(region: str, name: str, state: str) -> dict[str, Any]:
    """Set a load balancer's state."""
    balancers = elbv2_backends[DEFAULT_ACCOUNT_ID][region].load_balancers.values()
    found = next(b for b in balancers if b.name == name)
    before, found.state = found.state, state
    return {"region": region, "name": name, "state": before}


def replication_group(region: str, name: str, **changes: Any) -> dict[str, Any]:
    """Set attributes of an ElastiCache replication group, such as `status`."""
    found = elasticache_backends[DEFAULT_ACCOUNT_ID][region].replication_groups[name]
    return {"region": region, "name": name, **_changed(found, changes)}


def database(region: str, instance: str, **changes: Any) -> dict[str, Any]:
    """Set attributes that `sandbox.aws.patches` adds to a database instance, such as `stalled_for_s`."""
    found = rds_backends[DEFAULT_ACCOUNT_ID][region].databases[instance]
    return {"region": region, "instance": instance, **_changed(found, changes)}


def amazon_mq(region: str, name: str, **changes: Any) -> dict[str, Any]:
    """Set attributes of a broker of Amazon MQ, such as `state`."""
    brokers = mq_backends[DEFAULT_ACCOUNT_ID][region].brokers.values()
    found = next(b for b in brokers if b.name == name)
    return {"region": region, "name": name, **_changed(found, changes)}


def log_key(region: str, name: str, **changes: Any) -> dict[str, Any]:
    """Set the key that encrypts a log group, `kms_key_id`: moto lacks AssociateKmsKey."""
    found = logs_backends[DEFAULT_ACCOUNT_ID][region].groups[name]
    return {"region": region, "name": name, **_changed(found, changes)}


def alarm(region: str, name: str, state: str, since_s: float = 0.0) -> dict[str, Any]:
    """Put an alarm into this state, as if it had been in it for some seconds."""
    found = cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].alarms[name]
    before, found.state_value = found.state_value, state
    found.state_updated_timestamp = utcnow() - timedelta(seconds=since_s)
    return {"region": region, "name": name, "state": before}


def subscription(region: str, arn: str, shown_as: str | None = None) -> dict[str, Any]:
    """Show a subscription under another ARN, as SNS shows `PendingConfirmation` until somebody confirms."""
    found = sns_backends[DEFAULT_ACCOUNT_ID][region].subscriptions[arn]
    found.arn = shown_as or arn
    return {"region": region, "arn": arn}


def bucket(name: str, exists: bool) -> dict[str, Any]:
    """Hide a bucket with its objects, or put it back: the API can't delete a bucket that holds objects."""
    buckets, owners = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets, s3_backends.bucket_accounts
    before = name in buckets
    if before and not exists:
        _hidden_buckets[name] = (buckets.pop(name), owners.pop(name))
    elif exists and not before:
        buckets[name], owners[name] = _hidden_buckets.pop(name)
    return {"name": name, "exists": before}


_hidden_buckets: dict[str, Any] = {}


def invalidation(distribution: str, status: str) -> dict[str, Any]:
    """Set the status of a distribution's newest invalidation; moto completes every invalidation at once."""
    newest = cloudfront_backends[DEFAULT_ACCOUNT_ID]["aws"].invalidations[distribution][-1]
    before, newest.status = newest.status, status
    return {"distribution": distribution, "status": before}


def certificates_by(region: str, kind: str, logging: str = "ENABLED") -> dict[str, Any]:
    """Show every certificate of a region as imported (IMPORTED) or as issued by Amazon (AMAZON_ISSUED); `logging` says
    whether they are in the logs of Certificate Transparency."""
    before = kind
    for bundle in acm_backends[DEFAULT_ACCOUNT_ID][region]._certificates.values():
        before, bundle.type = bundle.type, kind
        bundle.cert_options = {**bundle.cert_options, "CertificateTransparencyLoggingPreference": logging}
    return {"region": region, "kind": before}


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "requests": front.requests,
    "asked": front.asked,
    "refuse": front.refuse,
    "ecs-deployment": ecs_deployment,
    "ecs-old-deployment": ecs_old_deployment,
    "ecs-counts": ecs_counts,
    "ecs-cluster": ecs_cluster,
    "ecs-task-digest": played_tasks.task_digest,
    "ecs-task-fields": played_tasks.task_fields,
    "ecs-task-stopped": played_tasks.task_stopped,
    "ecs-events": played_tasks.events,
    "ecs-service-deployment": played_tasks.deployment,
    "ecs-work": played_deployments.work,
    "ecs-done": played_deployments.done,
    "ecs-service": played_variants.ecs_service,
    "service-revision": played_variants.service_revision,
    "serverless-cache": played_variants.serverless_cache,
    "replication-group-aside": played_variants.replication_group_aside,
    "database-aside": played_variants.database_aside,
    "account-public-access-block": played_variants.account_public_access_block,
    "codedeploy-forget": played_variants.codedeploy_forget,
    "certificates-by": certificates_by,
    "scan-findings": scan_findings,
    "secret-rotation": secret_rotation,
    "target-health": target_health,
    "load-balancer": load_balancer,
    "replication-group": replication_group,
    "amazon-mq": amazon_mq,
    "database": database,
    "alarm": alarm,
    "subscription": subscription,
    "bucket": bucket,
    "invalidation": invalidation,
    "metric-data": measuring.metric_data,
    "log-group": measuring.log_group,
    "log-class": measuring.log_class,
    "log-key": log_key,
}


def _service(region: str, cluster: str, service: str) -> Any:
    return ecs_backends[DEFAULT_ACCOUNT_ID][region].services[f"{cluster}:{service}"]


def _changed(found: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set attributes; returns their earlier values."""
    before = {name: getattr(found, name, None) for name in changes}
    for name, value in changes.items():
        setattr(found, name, value)
    return before
