"""Faults that make staging and production differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import changed_listener
from sandbox.site import required


@fault("variable-missing-in-production", turns_red=["parity-config"])
def variable_missing_in_production(sandbox: Sandbox) -> Iterator[None]:
    """Production's API was deployed without a variable that staging's has."""
    ecs, where = sandbox.aws("ecs"), required(sandbox.site.other.services["api"].ecs)
    service = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]
    before = service["taskDefinition"]
    definition = ecs.describe_task_definition(taskDefinition=before)["taskDefinition"]
    containers: list[dict[str, Any]] = [{**c, "environment": []} for c in definition["containerDefinitions"]]
    kept = ("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn")
    changed = ecs.register_task_definition(**{key: definition[key] for key in kept}, containerDefinitions=containers)[
        "taskDefinition"
    ]["taskDefinitionArn"]
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=changed)
    yield
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=before)
    ecs.deregister_task_definition(taskDefinition=changed)


@fault("production-behind", turns_red=["parity-engines"])
def production_behind(sandbox: Sandbox) -> Iterator[None]:
    """Production's database is a major version behind."""
    rds, instance = sandbox.aws("rds"), required(sandbox.site.other.database).instance
    described = rds.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"][0]

    def run(version: str) -> None:
        rds.modify_db_instance(
            DBInstanceIdentifier=instance,
            EngineVersion=version,
            AllowMajorVersionUpgrade=True,
            ApplyImmediately=True,
        )

    run("17.7")
    yield
    run(described["EngineVersion"])


@fault("counterpart-of-another-policy", turns_red=["parity-edge"])
def counterpart_of_another_policy(sandbox: Sandbox) -> Iterator[None]:
    """The other environment's load balancer has a stricter TLS policy, which was not tested here."""
    with changed_listener(sandbox, sandbox.site.other, SslPolicy="ELBSecurityPolicy-TLS13-1-3-2021-06"):
        yield
