"""Secrets Manager: the fields of each secret, without the values that are secret.

Source of truth: secretsmanager ListSecrets, ten names in a call, and BatchGetSecretValue, twenty.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gli.common.sentences import Said, phrase
from gli.observe.engine.aws_session import denied_action
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

PUBLIC_FIELDS = frozenset({"username", "host", "port", "dbname", "vhost", "tls", "engine", "scheme"})
_FILTER_VALUES, _PER_CALL = 10, 20  # the most that ListSecrets and BatchGetSecretValue accept


class Secret(Observation):
    """The public part of a secret: its field names, and the values of fields that are not secret (a host, a port)."""

    id: str
    exists: bool
    deleted_on: datetime | None = None
    has_current_version: bool = False
    current_since: datetime | None = None
    """When its current value was created; None if the value was not fetched."""
    arn: str | None = None
    key: str | None = None
    """The ARN of the customer's own key that encrypts it; None: AWS's key for Secrets Manager does."""
    rotates: bool = False
    rotates_next: datetime | None = None
    fields: tuple[str, ...] = ()
    public: Mapping[str, str] = {}

    @property
    def usable(self) -> bool:
        return self.exists and self.deleted_on is None and self.has_current_version


@probe()
async def secret_states(observer: Observer) -> Mapping[str, Secret]:
    """Whether each secret of the environment exists, is not marked for deletion, and has a current version.

    No value is fetched.
    """
    wanted = observer.environment.secrets
    found = {s["Name"]: s for s in await listed_secrets(observer, wanted)}
    return {id_: _state(id_, found.get(id_)) for id_ in wanted}


async def listed_secrets(observer: Observer, names: Sequence[str]) -> list[dict[str, Any]]:
    """The secrets that Secrets Manager lists for these names, and for names that begin with them. One call per ten."""
    answers = await asyncio.gather(
        *[
            observer.aws.call(
                observer,
                "secretsmanager",
                "list_secrets",
                IncludePlannedDeletion=True,
                Filters=[{"Key": "name", "Values": list(batch)}],
            )
            for batch in _batches(names, _FILTER_VALUES)
        ]
    )
    return [secret for answer in answers for secret in answer["SecretList"]]


def _batches(names: Sequence[str], most: int) -> list[Sequence[str]]:
    return [names[at : at + most] for at in range(0, len(names), most)]


@probe()
async def secret_state(observer: Observer, secret_id: str) -> Secret:
    """The state of one secret, from the calls made for all secrets."""
    return (await observer.see(secret_states))[secret_id]


@probe()
async def secrets(observer: Observer) -> Mapping[str, Secret | Said]:
    """Every secret of the environment: its public part, or why it can't be fetched. One call for twenty secrets.

    The values go to the vault. The observation keeps the field names and the values that are not secret.
    """
    wanted = observer.environment.secrets
    answers = await asyncio.gather(
        *[
            observer.aws.call(observer, "secretsmanager", "batch_get_secret_value", SecretIdList=list(batch))
            for batch in _batches(wanted, _PER_CALL)
        ]
    )
    refused = {
        e["SecretId"]: f"{e.get('ErrorCode')}: {e.get('Message', '')}" for a in answers for e in a.get("Errors") or []
    }
    found: dict[str, Secret | str] = {id_: refused.get(id_, phrase("it does not exist")) for id_ in wanted}
    for value in (v for answer in answers for v in answer.get("SecretValues") or []):
        found[value["Name"]] = _opened(observer, value["Name"], value.get("SecretString", ""), value.get("CreatedDate"))
    return found


@probe(after=[secrets])
async def secret(observer: Observer, secret_id: str) -> Secret:
    """One secret, from the calls made for all secrets. Raises `Unobserved` if its value can't be fetched."""
    found = (await observer.see(secrets))[secret_id]
    if isinstance(found, str):
        if "AccessDenied" not in found and denied_action(found) is None:
            raise unknown("not-found", phrase("the secret {}: {}", secret_id, found))
        action = denied_action(found) or "secretsmanager:GetSecretValue"
        raise unknown(
            "access-denied", phrase("{} is denied for the secret {}: {}", action, secret_id, found), action=action
        )
    return found


def _state(secret_id: str, listed: Mapping[str, Any] | None) -> Secret:
    if listed is None:
        return Secret(id=secret_id, exists=False)
    current = any("AWSCURRENT" in stages for stages in listed.get("SecretVersionsToStages", {}).values())
    return Secret(
        id=secret_id,
        exists=True,
        deleted_on=listed.get("DeletedDate"),
        has_current_version=current,
        arn=listed["ARN"],
        key=customer_key(listed),
        rotates=bool(listed.get("RotationEnabled")),
        rotates_next=listed.get("NextRotationDate"),
    )


def customer_key(listed: Mapping[str, Any]) -> str | None:
    """The ARN of the customer's own key of a listed secret; None if AWS's key encrypts it."""
    key = str(listed.get("KmsKeyId") or "")
    if not key or key.endswith("alias/aws/secretsmanager"):
        return None
    kind = "" if key.startswith(("alias/", "key/")) else "key/"
    if key.startswith("arn:"):
        return key
    _, partition, _, region, account, *_ = listed["ARN"].split(":")
    return f"arn:{partition}:kms:{region}:{account}:{kind}{key}"


def _opened(observer: Observer, secret_id: str, text: str, since: datetime | None) -> Secret | str:
    observer.vault.hide(text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return "it holds no JSON object"
    fields = {str(k): _text(v) for k, v in document.items()}
    observer.vault.keep(secret_id, fields, public=PUBLIC_FIELDS)
    public = {k: v for k, v in fields.items() if k in PUBLIC_FIELDS}
    return Secret(
        id=secret_id,
        exists=True,
        has_current_version=True,
        current_since=since,
        fields=tuple(sorted(fields)),
        public=public,
    )


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool | dict | list) else str(value)
