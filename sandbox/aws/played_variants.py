"""Healthy set-ups that moto's API can't create: services of other controllers, serverless caches, clusters and more.

moto's serialiser sends them, so boto3 receives the shapes that AWS sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from moto.codedeploy import responses as codedeploy_responses
from moto.codedeploy.models import DeploymentGroup, codedeploy_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ecs.models import ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.models import elasticache_backends
from moto.elasticache.responses import ElastiCacheResponse
from moto.rds.models import DBInstance, DBProxy, rds_backends
from moto.rds.responses import RDSResponse
from moto.s3.models import PublicAccessBlock
from moto.s3control.models import s3control_backends

REVISIONS: dict[str, dict[str, Any]] = {}
"""Service revisions by ARN, as DescribeServiceRevisions shows them."""
SERVERLESS: dict[tuple[str, str], dict[str, Any]] = {}
"""(region, name) to a serverless cache, as DescribeServerlessCaches shows it."""
_before: dict[str, dict[str, Any]] = {}
_aside: dict[tuple[str, str], Any] = {}


class _NoServerlessCache(ElastiCacheException):  # type: ignore[misc]
    code = "ServerlessCacheNotFoundFault"


def apply() -> None:
    """Patch moto in this process, once."""
    EC2ContainerServiceResponse.describe_service_revisions = _describe_service_revisions
    ElastiCacheResponse.describe_serverless_caches = _describe_serverless_caches
    RDSResponse.describe_db_proxy_endpoints = lambda self: ActionResult({"DBProxyEndpoints": []})
    codedeploy_responses._deployment_group_info = _with_its_newest_deployment
    create = DBProxy.__init__

    def created(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        self.endpoint = self.endpoint.replace(".db-proxy-", ".proxy-")  # as RDS names it

    DBProxy.__init__ = created
    DBInstance.remove_replica = _remove_replica


_group_info = codedeploy_responses._deployment_group_info


def _remove_replica(self: Any, replica: Any) -> None:
    """moto finds no replica of another region, which it keeps by its ARN."""
    self.replicas = [r for r in self.replicas if r not in (replica.db_instance_identifier, replica.db_instance_arn)]


def _with_its_newest_deployment(group: DeploymentGroup) -> dict[str, Any]:
    made = [
        deployment
        for backend in codedeploy_backends[DEFAULT_ACCOUNT_ID].values()
        for deployment in backend.deployments.values()
        if deployment.deployment_group is group
    ]
    newest = {"deploymentId": made[-1].deployment_id, "status": "Succeeded", "createTime": made[-1].create_time}
    return {**_group_info(group), "lastAttemptedDeployment": newest}


def _describe_service_revisions(self: Any) -> ActionResult:
    wanted = self._get_param("serviceRevisionArns", [])
    missing = [{"arn": arn, "reason": "MISSING"} for arn in wanted if arn not in REVISIONS]
    return ActionResult({"serviceRevisions": [REVISIONS[a] for a in wanted if a in REVISIONS], "failures": missing})


def _describe_serverless_caches(self: Any) -> ActionResult:
    name = self._get_param("ServerlessCacheName")
    found = [c for (region, n), c in SERVERLESS.items() if region == self.region and name in (None, n)]
    if name and not found:
        raise _NoServerlessCache(f"ServerlessCache {name} not found")
    return ActionResult({"ServerlessCaches": found})


def ecs_service(region: str, cluster: str, service: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Set attributes of moto's service; without changes, put the earlier values back.

    `{"$ago": seconds}` stands for the time that many seconds ago.
    """
    found = ecs_backends[DEFAULT_ACCOUNT_ID][region].services[f"{cluster}:{service}"]
    for name, value in _before.pop(found.arn, {}).items():
        setattr(found, name, value)
    if changes is not None:
        _before[found.arn] = {name: getattr(found, name, None) for name in changes}
        for name, value in changes.items():
            setattr(found, name, _timed(value))
    return {"region": region, "cluster": cluster, "service": service}


def service_revision(arn: str, shown: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Show a service revision with this ARN, or stop showing it."""
    REVISIONS.pop(arn, None)
    if shown is not None:
        REVISIONS[arn] = {"serviceRevisionArn": arn, **_timed(shown)}
    return {"arn": arn}


def serverless_cache(region: str, name: str, shown: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Show a serverless cache with this name, or stop showing it."""
    SERVERLESS.pop((region, name), None)
    if shown is not None:
        SERVERLESS[region, name] = {"ServerlessCacheName": name, **shown}
    return {"region": region, "name": name}


def replication_group_aside(region: str, name: str, aside: bool) -> dict[str, Any]:
    """Hide a replication group, or put it back."""
    groups = elasticache_backends[DEFAULT_ACCOUNT_ID][region].replication_groups
    if aside:
        _aside[region, name] = groups.pop(name)
    else:
        groups[name] = _aside.pop((region, name))
    return {"region": region, "name": name, "aside": not aside}


def database_aside(
    region: str, instance: str, aside: bool, cluster: str | None = None, reader: str | None = None
) -> dict[str, Any]:
    """Hide a database, which frees its name. Or put it back, in place of the cluster whose writer has its name."""
    backend = rds_backends[DEFAULT_ACCOUNT_ID][region]
    daily = [id_ for id_ in backend.database_snapshots if id_.startswith(f"rds:{instance}-")]
    snapshots = {id_: backend.database_snapshots.pop(id_) for id_ in daily}
    if aside:
        _aside[region, instance] = backend.databases.pop(instance), snapshots
    else:
        backend.databases[instance], snapshots = _aside.pop((region, instance))
        backend.database_snapshots.update(snapshots)
        backend.clusters.pop(cluster, None)
        backend.databases.pop(reader, None)
    return {"region": region, "instance": instance, "aside": not aside, "cluster": cluster}


def account_public_access_block(account: str, on: bool) -> dict[str, Any]:
    """Set whether the account blocks public access for every bucket."""
    backend = s3control_backends[account]["aws"]
    before = backend.public_access_block is not None
    backend.public_access_block = PublicAccessBlock(*[on] * 4) if on else None
    return {"account": account, "on": before}


def codedeploy_forget(region: str, application: str) -> dict[str, Any]:
    """Remove a CodeDeploy application with its deployments, which the API can't delete."""
    backend = codedeploy_backends[DEFAULT_ACCOUNT_ID][region]
    backend.applications.pop(application, None)
    backend.deployment_groups.pop(application, None)
    return {"region": region, "application": application}


def _timed(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "$ago" in value:
            return utcnow() - timedelta(seconds=value["$ago"])
        return {k: _timed(v) for k, v in value.items()}
    return [_timed(v) for v in value] if isinstance(value, list) else value
