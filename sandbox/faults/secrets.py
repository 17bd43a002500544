"""Faults of the secrets that services log in with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.faults import Sandbox, fault
from sandbox.faults.common import api_service, aws_region, refusing
from sandbox.site import required
from sandbox.variants.parts import redefined


@fault("aws-denies-secrets", turns_red=["secret-exists", "secret-fields", "ecs-taskdef-contract", "kms-keys-usable"])
def aws_denies_secrets(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may not read secrets, so the logins that use them can't be checked."""
    with refusing(sandbox, "secretsmanager", "AccessDeniedException"):
        yield


@fault("secret-scheduled-for-deletion", turns_red=["secret-exists"])
def secret_scheduled_for_deletion(sandbox: Sandbox) -> Iterator[None]:
    """The application's database secret will be deleted in a week."""
    name = required(sandbox.environment.database).secret
    sandbox.aws("secretsmanager").delete_secret(SecretId=name, RecoveryWindowInDays=7)
    yield
    sandbox.aws("secretsmanager").restore_secret(SecretId=name)


@contextmanager
def rewritten(sandbox: Sandbox, name: str, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Change the value of a secret."""
    client = sandbox.aws("secretsmanager")
    before = client.get_secret_value(SecretId=name)
    value = json.loads(before["SecretString"])
    change(value)
    after = client.put_secret_value(SecretId=name, SecretString=json.dumps(value))
    try:
        yield
    finally:  # make the version that the tasks started with current again
        client.update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            RemoveFromVersionId=after["VersionId"],
            MoveToVersionId=before["VersionId"],
        )


@fault("secret-of-production", turns_red=["secret-fields"])
def secret_of_production(sandbox: Sandbox) -> Iterator[None]:
    """The application's database secret names production's host."""
    instance = required(sandbox.site.other.database).instance
    described = sandbox.aws("rds").describe_db_instances(DBInstanceIdentifier=instance)
    host = described["DBInstances"][0]["Endpoint"]["Address"]
    with rewritten(sandbox, required(sandbox.environment.database).secret, lambda value: value.update(host=host)):
        yield


@fault("secret-without-a-password", turns_red=["secret-fields"])
def secret_without_a_password(sandbox: Sandbox) -> Iterator[None]:
    """The application's Redis secret lacks its password."""
    with rewritten(sandbox, required(sandbox.environment.cache).secret, lambda value: value.pop("password")):
        yield


@fault("secret-with-an-empty-password", turns_red=["secret-fields"])
def secret_with_an_empty_password(sandbox: Sandbox) -> Iterator[None]:
    """The password of the broker's secret is empty, as after a form that was sent half filled in."""
    with rewritten(sandbox, required(sandbox.environment.broker).secret, lambda value: value.update(password="")):
        yield


@fault("secret-of-a-template", turns_red=["secret-fields"])
def secret_of_a_template(sandbox: Sandbox) -> Iterator[None]:
    """The signing key of the API is the word of the template that made the secret: anybody can sign a session."""
    name = required(api_service(sandbox).deep_health_secret)
    with rewritten(sandbox, name, lambda value: value.update(secret_key="changeme")):
        yield


@fault("taskdef-without-its-secrets", turns_red=["secret-reaches-tasks"])
def taskdef_without_its_secrets(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition was registered anew from a file without its secrets: the next task has no login."""
    with redefined(sandbox, lambda definition: definition["containerDefinitions"][0].update(secrets=[])):
        yield


@fault("taskdef-without-one-secret", turns_red=["secret-reaches-tasks"])
def taskdef_without_one_secret(sandbox: Sandbox) -> Iterator[None]:
    """The API's task definition lost the login of the broker alone."""

    def lose(definition: dict[str, Any]) -> None:
        container, name = definition["containerDefinitions"][0], required(sandbox.environment.broker).secret
        container["secrets"] = [s for s in container["secrets"] if f":secret:{name}-" not in s["valueFrom"]]

    with redefined(sandbox, lose):
        yield


@fault("secret-changed-under-tasks", turns_red=["secret-rotation-state"])
def secret_changed_under_tasks(sandbox: Sandbox) -> Iterator[None]:
    """The broker's secret got a new version, and no task has started since then."""
    client, name = sandbox.aws("secretsmanager"), required(sandbox.environment.broker).secret
    before = client.get_secret_value(SecretId=name)
    after = client.put_secret_value(SecretId=name, SecretString=before["SecretString"])
    yield
    client.update_secret_version_stage(
        SecretId=name,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=after["VersionId"],
        MoveToVersionId=before["VersionId"],
    )


@fault("rotation-overdue", turns_red=["secret-rotation-state"])
def rotation_overdue(sandbox: Sandbox) -> Iterator[None]:
    """The rotation of the database's secret was due yesterday and did not happen."""
    due = int((datetime.now(UTC) - timedelta(days=1)).timestamp())
    name = required(sandbox.environment.database).secret
    undo = sandbox.aws_overlay("secret-rotation", region=aws_region(sandbox), name=name, rotates=True, due=due)
    yield
    sandbox.aws_overlay("secret-rotation", **undo)


@fault("rotation-left-half-way", turns_red=["secret-rotation-state"])
def rotation_left_half_way(sandbox: Sandbox) -> Iterator[None]:
    """The rotation of the cache's secret made a new version and never made that version current."""
    client, name = sandbox.aws("secretsmanager"), required(sandbox.environment.cache).secret
    due = int((datetime.now(UTC) + timedelta(days=20)).timestamp())
    undo = sandbox.aws_overlay("secret-rotation", region=aws_region(sandbox), name=name, rotates=True, due=due)
    value = client.get_secret_value(SecretId=name)["SecretString"]
    made = client.put_secret_value(SecretId=name, SecretString=value, VersionStages=["AWSPENDING"])["VersionId"]
    yield
    client.update_secret_version_stage(SecretId=name, VersionStage="AWSPENDING", RemoveFromVersionId=made)
    sandbox.aws_overlay("secret-rotation", **undo)
