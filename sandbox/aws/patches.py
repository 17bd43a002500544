"""Patches for moto's answers that differ from AWS's in a field that a check reads, and that no API call can correct."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.cloudfront.models import DefaultCacheBehaviour, Distribution, Invalidation, Origin
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ecr.models import ECRBackend
from moto.ecs.models import EC2ContainerServiceBackend, Service
from moto.elasticache.models import ElastiCacheBackend
from moto.elbv2.models import FakeHealthStatus, FakeTargetGroup
from moto.elbv2.responses import ELBV2Response
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.mq.models import Broker
from moto.rds.models import DBInstance, DBInstanceClustered
from moto.rds.responses import RDSResponse
from moto.secretsmanager.models import SecretsManagerBackend
from moto.servicequotas.models import ServiceQuotasBackend

from sandbox.aws import filter_patterns, measuring, played_deployments, played_tasks, played_variants

FARGATE_VCPUS = 100.0
TARGET_HEALTH: dict[tuple[str, str], tuple[str | None, str | None, str | None]] = {}
"""(region, target group) to the state, reason and description that all its targets have."""


def apply() -> None:
    """Patch moto in this process, once."""
    _servicesconverge()
    _target_health_can_be_set()
    _distributions_keep_their_functions()
    _invalidations_complete()
    _origins_keep_their_access_control()
    _cache_nodes_are_described()
    _recovery_can_stall()
    _databases_say_what_awaits_them()
    _current_version_can_be_moved()
    _images_are_scanned_on_push()
    _listeners_show_one_certificate()
    _clusters_keep_what_is_theirs()
    _a_deny_of_plain_http_spares_tls()
    _required_members_are_there()
    _fargate_has_a_quota()
    filter_patterns.apply()
    measuring.apply()
    played_tasks.apply()
    played_variants.apply()
    played_deployments.apply()


def _invalidations_complete() -> None:
    """Spell the status as CloudFront does: `aws cloudfront wait invalidation-completed` waits for this word."""
    create = Invalidation.__init__

    def created(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        self.status = "Completed"

    Invalidation.__init__ = created


def _servicesconverge() -> None:
    """Give a service its desired tasks at once, and make the newest requested deployment its PRIMARY one."""
    create, update = Service.__init__, EC2ContainerServiceBackend.update_service

    def created(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        converge(self)

    def updated(self: Any, service_properties: dict[str, Any]) -> Any:
        rescaled = service_properties.get("desired_count") is not None
        known = {s.arn: s.task_definition for s in self.services.values()}
        service = update(self, service_properties)
        if not rescaled:  # moto subtracts the service's tasks from the cluster's count, and adds them after a scaling
            self.update_cluster_resources(self._get_cluster(service.cluster_name), service.desired_count, "RUNNING")
        if service.task_definition and not service.task_definition.startswith("arn:"):
            service.task_definition = self.describe_task_definition(service.task_definition).arn
        if played_deployments.pauses(service) and service.task_definition != known[service.arn]:
            played_deployments.begin(service, known[service.arn])
        else:
            service.played_deployments = []
            converge(service)
        return service

    Service.__init__ = created
    EC2ContainerServiceBackend.update_service = updated


def converge(service: Any) -> None:
    """Give a service its desired tasks of its present task definition, and complete its PRIMARY deployment."""
    service.running_count, service.pending_count = service.desired_count, 0
    for deployment in service.deployments[:1]:
        deployment |= {
            "taskDefinition": service.task_definition,
            "desiredCount": service.desired_count,
            "runningCount": service.desired_count,
            "pendingCount": 0,
            "rolloutState": "COMPLETED",
            "rolloutStateReason": f"ECS deployment {deployment['id']} completed.",
        }
    played_tasks.start(service)


def _current_version_can_be_moved() -> None:
    """Answer with the version that now has the stage AWSCURRENT; moto answers with the one before the move."""
    move = SecretsManagerBackend.update_secret_version_stage

    def moved(self: Any, secret_id: str, version_stage: str, **versions: str) -> tuple[str, str]:
        answer: tuple[str, str] = move(self, secret_id=secret_id, version_stage=version_stage, **versions)
        if version_stage == "AWSCURRENT":
            self.secrets[secret_id].set_default_version_id(versions["move_to_version_id"])
        return answer

    SecretsManagerBackend.update_secret_version_stage = moved


def _images_are_scanned_on_push() -> None:
    """Scan images on push, by the setting of the repository or the registry. moto scans only on request."""
    put, scanned = ECRBackend.put_image, ECRBackend.batch_get_repository_scanning_configuration

    def pushed(self: Any, repository_name: str, *args: Any, **kwargs: Any) -> Any:
        image = put(self, repository_name, *args, **kwargs)
        repository = self.repositories[repository_name]
        on_push = repository.image_scanning_configuration.get("scanOnPush")
        # A basic scan refuses an index; the images in the index are scanned instead.
        if (on_push or repository.scanning_config["scanFrequency"] != "MANUAL") and "manifests" not in json.loads(
            image.image_manifest
        ):
            image.last_scan = datetime.now(UTC)
        return image

    def configured(self: Any, names: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
        found, missing = scanned(self, names)
        return [_with_its_own(c, self.repositories[c["repositoryName"]]) for c in found], missing

    ECRBackend.put_image = pushed
    ECRBackend.batch_get_repository_scanning_configuration = configured


def _with_its_own(configuration: dict[str, Any], repository: Any) -> dict[str, Any]:
    """The scanning configuration of a repository: its own setting, or else the registry's."""
    if repository.image_scanning_configuration.get("scanOnPush"):
        return configuration | {"scanOnPush": True, "scanFrequency": "SCAN_ON_PUSH"}
    return configuration


def _listeners_show_one_certificate() -> None:
    """Show only the default certificate in DescribeListeners, as AWS does; moto shows all certificates."""
    shown = ELBV2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER
    key = "DescribeListenersOutput.Listeners.Listener.Certificates"
    every = shown[key]
    shown[key] = lambda certificates: (every(certificates) or [])[:1] or None


def _clusters_keep_what_is_theirs() -> None:
    """Leave the latest restorable time out of a cluster's instances, as RDS does: it is the cluster's. moto adds it."""
    DBInstanceClustered.latest_restorable_time = None


def _target_health_can_be_set() -> None:
    """Let faults set the health of targets; moto calls every registered target healthy."""
    health_for = FakeTargetGroup.health_for

    def overlaid(self: Any, target: dict[str, Any], ec2_backend: Any) -> Any:
        real = health_for(self, target, ec2_backend)
        wanted = TARGET_HEALTH.get((self.region_name, self.name))
        if wanted is None:
            return real
        return FakeHealthStatus(real.instance_id, real.port, real.health_check_port, *wanted)

    FakeTargetGroup.health_for = overlaid


def _recovery_can_stall() -> None:
    """Let faults stop the latest restorable time; moto always answers the current time."""
    DBInstance.stalled_for_s = 0.0
    DBInstance.latest_restorable_time = property(lambda self: utcnow() - timedelta(seconds=self.stalled_for_s))


def _databases_say_what_awaits_them() -> None:
    """Add a database's pending changes, maintenance and server certificate, which moto lacks."""
    DBInstance.played_maintenance = ()
    DBInstance.pending_modified_values = {}
    DBInstance.certificate_lasts_days = 900.0
    DBInstance.certificate_details = property(
        lambda self: {
            "CAIdentifier": self.ca_certificate_identifier,
            "ValidTill": utcnow() + timedelta(days=self.certificate_lasts_days),
        }
    )
    RDSResponse.describe_pending_maintenance_actions = _pending_maintenance


def _pending_maintenance(self: Any) -> ActionResult:
    wanted = {value for f in self.params.get("Filters", []) for value in f["Values"]}
    actions = [
        {"ResourceIdentifier": d.db_instance_arn, "PendingMaintenanceActionDetails": _due(d.played_maintenance)}
        for d in self.backend.databases.values()
        if d.played_maintenance and (not wanted or d.db_instance_identifier in wanted)
    ]
    return ActionResult({"PendingMaintenanceActions": actions})


def _due(played: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    """Pending maintenance actions as RDS returns them, from pairs of (action, hours until it is applied)."""
    return [{"Action": action, "CurrentApplyDate": utcnow() + timedelta(hours=hours)} for action, hours in played]


def _cache_nodes_are_described() -> None:
    """Describe the nodes of a replication group, which moto lacks."""
    describe = ElastiCacheBackend.describe_cache_clusters

    def described(self: Any, cache_cluster_id: str | None = None) -> Any:
        nodes = [
            {
                "CacheClusterId": member,
                "ReplicationGroupId": group.replication_group_id,
                "CacheClusterStatus": group.status,
                "Engine": group.engine,
                "EngineVersion": group.engine_version,
                "SecurityGroups": [{"SecurityGroupId": i, "Status": "active"} for i in group.security_group_ids],
                "CacheSubnetGroupName": group.cache_subnet_group_name,
            }
            for group in self.replication_groups.values()
            for member in group.member_clusters
        ]
        named = [node for node in nodes if node["CacheClusterId"] == cache_cluster_id]
        return named or [*describe(self, cache_cluster_id), *(nodes if cache_cluster_id is None else [])]

    ElastiCacheBackend.describe_cache_clusters = described


def _distributions_keep_their_functions() -> None:
    """Keep FunctionAssociations, which moto drops."""
    create = DefaultCacheBehaviour.__init__

    def created(self: Any, config: dict[str, Any]) -> None:
        create(self, config)
        self.function_associations = config.get("FunctionAssociations") or {"Quantity": 0}

    DefaultCacheBehaviour.__init__ = created


def _origins_keep_their_access_control() -> None:
    """Keep OriginAccessControlId and an empty S3OriginConfig, which moto drops."""
    create = Origin.__init__

    def created(self: Any, origin: dict[str, Any]) -> None:
        create(self, origin)
        self.origin_access_control_id = origin.get("OriginAccessControlId") or ""
        if "S3OriginConfig" in origin:
            self.s3_origin_config = {"OriginAccessIdentity": self.s3_access_identity or ""}

    Origin.__init__ = created


def _required_members_are_there() -> None:
    """Answer with members that AWS always sends and moto leaves out."""
    Distribution.staging = False
    create = Broker.__init__

    def created(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        self.logs["GeneralLogGroup"] = f"/aws/amazonmq/broker/{self.name}/general"

    Broker.__init__ = created


def _fargate_has_a_quota() -> None:
    """Know the quota of vCPUs for Fargate; moto knows those of networks alone."""
    known = ServiceQuotasBackend.get_service_quota
    fargate = {"ServiceCode": "fargate", "QuotaCode": "L-3032A538", "Value": FARGATE_VCPUS}

    def found(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
        if (service_code, quota_code) == (fargate["ServiceCode"], fargate["QuotaCode"]):
            return fargate
        answer: dict[str, Any] = known(self, service_code, quota_code)
        return answer

    ServiceQuotasBackend.get_service_quota = found


def _a_deny_of_plain_http_spares_tls() -> None:
    """Skip statements that deny plain HTTP: moto ignores conditions and would deny all. Clients here count as TLS."""
    permitted = IAMPolicyStatement.is_action_permitted

    def judged(self: Any, *args: Any, **kwargs: Any) -> Any:
        condition = (self._statement.get("Condition") or {}).get("Bool") or {}
        if str(condition.get("aws:SecureTransport", "")).lower() == "false":
            return PermissionResult.NEUTRAL
        return permitted(self, *args, **kwargs)

    IAMPolicyStatement.is_action_permitted = judged
