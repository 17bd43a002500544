"""Secrets Manager: what a secret holds, without what it hides.

Source of truth: secretsmanager GetSecretValue and DescribeSecret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from gli.observe.aws.session import AwsError
from gli.observe.observation import Observation, unknown
from gli.observe.probe import Observer, probe

PUBLIC_FIELDS = frozenset({"username", "host", "port", "dbname", "vhost", "tls", "engine", "scheme"})


class Secret(Observation):
    """A secret's public side: its field names, and the values of those fields that hide nothing."""

    id: str
    exists: bool
    deleted_on: datetime | None = None
    has_current_version: bool = False
    fields: tuple[str, ...] = ()
    public: Mapping[str, str] = {}

    @property
    def usable(self) -> bool:
        return self.exists and self.deleted_on is None and self.has_current_version


@probe()
async def secret_state(observer: Observer, secret_id: str) -> Secret:
    """Whether the secret is there, stays there and has a current version; its value is not asked for."""
    try:
        state = await observer.aws.call(observer, "secretsmanager", "describe_secret", SecretId=secret_id)
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            return Secret(id=secret_id, exists=False)
        raise
    current = any("AWSCURRENT" in stages for stages in state.get("VersionIdsToStages", {}).values())
    return Secret(id=secret_id, exists=True, deleted_on=state.get("DeletedDate"), has_current_version=current)


@probe()
async def secret(observer: Observer, secret_id: str) -> Secret:
    """The fields of a secret. Its values go to the vault; the observation keeps the names and the public values."""
    try:
        answer = await observer.aws.call(observer, "secretsmanager", "get_secret_value", SecretId=secret_id)
    except AwsError as e:
        if e.code == "ResourceNotFoundException":
            raise unknown("not-found", f"the secret {secret_id} does not exist or has no current value") from None
        if e.code == "InvalidRequestException":
            raise unknown("not-found", f"the secret {secret_id} is scheduled for deletion") from None
        raise
    text = answer.get("SecretString", "")
    observer.vault.hide(text)
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise unknown("error", f"the secret {secret_id} holds no JSON object")
    fields = {str(k): _text(v) for k, v in document.items()}
    observer.vault.keep(secret_id, fields, public=PUBLIC_FIELDS)
    public = {k: v for k, v in fields.items() if k in PUBLIC_FIELDS}
    return Secret(id=secret_id, exists=True, has_current_version=True, fields=tuple(sorted(fields)), public=public)


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool | dict | list) else str(value)
