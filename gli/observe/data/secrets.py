"""Credentials: the fields of each secret, without the values that are secret.

Source of truth: secretsmanager ListSecrets, ten names in a call, and BatchGetSecretValue, twenty; ssm GetParameters and
GetParametersByPath; environment variables and files where `environments.toml` says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gli.common.sentences import Said, phrase
from gli.config.data_tier import Stored
from gli.config.values import ELSEWHERE
from gli.observe.engine.aws_session import AwsError, denied_action
from gli.observe.engine.observation import Observation, Unobserved, unknown
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
    versions: Mapping[str, tuple[str, ...]] = {}
    """The id of each version to its labels (`AWSCURRENT`, `AWSPENDING`); a version without any is not listed."""
    arn: str | None = None
    key: str | None = None
    """The ARN of the customer's own key that encrypts it; None: AWS's key for Secrets Manager does."""
    rotates: bool = False
    rotates_next: datetime | None = None
    fields: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    """Those of the fields whose value is empty."""
    unset: tuple[str, ...] = ()
    """Those of the fields that hold what a template, or a script, writes in place of a value."""
    public: Mapping[str, str] = {}

    @property
    def pending(self) -> str | None:
        """The version that a rotation made and did not make current; None: no rotation is under way or got stuck."""
        return next(
            (id_ for id_, labels in self.versions.items() if "AWSPENDING" in labels and "AWSCURRENT" not in labels),
            None,
        )

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


@probe(ahead=True)
async def secrets(observer: Observer) -> Mapping[str, Secret | Said]:
    """All credentials of the environment: their public part, or why they can't be had. One call for twenty secrets.

    The values go to the vault. The observation keeps the field names and the values that are not secret.
    """
    wanted = observer.environment.secrets if observer.environment.aws else ()
    elsewhere = await _elsewhere(observer)
    answers = await asyncio.gather(
        *[
            observer.aws.call(observer, "secretsmanager", "batch_get_secret_value", SecretIdList=list(batch))
            for batch in _batches(wanted, _PER_CALL)
        ]
    )
    refused = {
        _named(e["SecretId"]): f"{e.get('ErrorCode')}: {e.get('Message', '')}"
        for a in answers
        for e in a.get("Errors") or []
    }
    found: dict[str, Secret | str] = {id_: refused.get(id_, phrase("it does not exist")) for id_ in wanted}
    for value in (v for answer in answers for v in answer.get("SecretValues") or []):
        found[value["Name"]] = _opened(observer, value["Name"], value.get("SecretString", ""), value.get("CreatedDate"))
    without = phrase("environments.toml: [{}] has no aws table", observer.environment.name)
    return {**dict.fromkeys(observer.environment.secrets, without), **found, **elsewhere}


def _named(secret_id: str) -> str:
    """The name of a secret, which an error may call by its ARN: that ends with six characters of AWS's own."""
    found = re.fullmatch(r"arn:[^:]+:secretsmanager:[^:]+:\d+:secret:(.+)-\w{6}", secret_id)
    return found[1] if found else secret_id


@probe(after=[secrets], ahead=True)
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


async def credentials(observer: Observer, part: Stored, source: str) -> dict[str, str]:
    """The fields of a part's credentials under this suite's own names; a URL is taken apart.

    `tls` is `true` or `false` where a URL says so. Raises `Unobserved` if the credentials can't be had, or are for a
    product that this suite does not ask.
    """
    await observer.see(secret, source)
    document, names = observer.vault.document(source), part.names
    text = document.get(names.get("url", "url")) or document.get("url", "")  # a lone URL has no name of its own
    found = _of_url(text) if "://" in text else {}
    observer.vault.hide(found.get("password", ""))
    if other := _OTHER_PRODUCTS.match(text) or _OTHER_PRODUCTS.match(document.get("engine", "")):
        said = phrase("{} leads to {}, and this suite asks {} alone", source, other["name"], part.product)
        raise unknown("unsupported", phrase('{}: write [{}] absent = "why"', said, part.key))
    own = {field: document[name] for field in _FIELDS if (name := names.get(field, field)) in document}
    return {**document, **found, **own}


_FIELDS = ("host", "port", "username", "password", "dbname", "vhost", "tls")
_OTHER_PRODUCTS = re.compile(
    r"(?:jdbc:)?(?P<name>mysql|mariadb|mssql|sqlserver|oracle|mongodb|sqlite|cassandra|memcached?|kafka|nats|pulsar)"
)
"""How a URL begins, or the field `engine` of a secret of RDS, of a product that no probe can speak with."""
_ENCRYPTED = {
    "rediss": "true",
    "valkeys": "true",
    "amqps": "true",
    "redis": "false",
    "valkey": "false",
    "amqp": "false",
}


def _of_url(text: str) -> dict[str, str]:
    """The fields of a URL as frameworks write it: `postgresql+psycopg://user:password@host:5432/name?sslmode=disable`."""
    try:
        parts = urlsplit(text.removeprefix("jdbc:"))
        port = str(parts.port or "")
    except ValueError:
        return {}
    scheme, path = parts.scheme.partition("+")[0], unquote(parts.path.removeprefix("/"))
    tls = _ENCRYPTED.get(scheme, "false" if parse_qs(parts.query).get("sslmode") == ["disable"] else "")
    of_amqp = scheme.startswith("amqp")
    fields = {
        "host": parts.hostname or "",
        "port": port,
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": "" if of_amqp else path,
        "vhost": path if of_amqp else "",
        "tls": tls,
    }
    return {name: value for name, value in fields.items() if value}


async def _elsewhere(observer: Observer) -> dict[str, Secret | str]:
    """The credentials that are not in Secrets Manager: in variables, in files, and in the parameters of SSM."""
    found: dict[str, Secret | str] = {}
    services = observer.environment.services.values()
    tokens = {who.source for who in observer.environment.authorizations}
    tokens |= {service.deep_health_secret for service in services if service.deep_health_secret}
    for source in observer.environment.credentials:
        place, _, name = source.partition(":")
        if not source.startswith(ELSEWHERE):
            continue
        if place == "ssm":
            try:
                text: str | None = await _parameters(observer, name)
            except (AwsError, Unobserved) as e:  # the credentials elsewhere are known all the same
                found[source] = str(e)
                continue
        elif place == "file":
            text = await asyncio.to_thread(_file, name)
        else:
            text = os.environ.get(name) if name else _variables(observer, source)
        if text is not None and source in tokens and _document(text) is None:
            text = json.dumps({"token": text.strip()})
        found[source] = phrase("it does not exist") if text is None else _opened(observer, source, text, None)
    return found


def _variables(observer: Observer, source: str) -> str:
    """The environment variables that the parts with this source name in `fields`, as a JSON object."""
    parts = [part for part in observer.environment.stored if source in part.credentials]
    names = {name for part in parts for name in part.names.values()}
    return json.dumps({name: os.environ[name] for name in sorted(names & os.environ.keys())})


def _file(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


async def _parameters(observer: Observer, name: str) -> str | None:
    """The value of a parameter; of a name that ends with a slash, each parameter below it as a JSON object."""
    if not name.endswith("/"):
        answer = await observer.aws.call(observer, "ssm", "get_parameters", Names=[name], WithDecryption=True)
        return next((str(p["Value"]) for p in answer["Parameters"]), None)
    answer = await observer.aws.call(
        observer, "ssm", "get_parameters_by_path", Path=name, Recursive=False, WithDecryption=True
    )
    values = {p["Name"].removeprefix(name): p["Value"] for p in answer["Parameters"]}
    return json.dumps(values) if values else None


def _state(secret_id: str, listed: Mapping[str, Any] | None) -> Secret:
    if listed is None:
        return Secret(id=secret_id, exists=False)
    stages = versions(listed)
    current = any("AWSCURRENT" in labels for labels in stages.values())
    return Secret(
        id=secret_id,
        exists=True,
        deleted_on=listed.get("DeletedDate"),
        has_current_version=current,
        versions=stages,
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
    _, partition, _, region, account, *_ = listed["ARN"].split(":")
    return key_arn(key, partition, region, account)


def key_arn(key: str, partition: str, region: str, account: str) -> str:
    """The ARN of a key of KMS, or of an alias, that a resource names by its ARN, its id or its alias."""
    kind = "" if key.startswith(("alias/", "key/")) else "key/"
    return key if key.startswith("arn:") else f"arn:{partition}:kms:{region}:{account}:{kind}{key}"


def _opened(observer: Observer, secret_id: str, text: str, since: datetime | None) -> Secret | str:
    observer.vault.hide(text)
    document = _document(text)
    if document is None:
        return phrase("it holds no JSON object, no URL and no lines NAME=VALUE")
    named = [part.names for part in observer.environment.stored if secret_id in part.credentials]
    told = PUBLIC_FIELDS | {name for names in named for field, name in names.items() if field in PUBLIC_FIELDS}
    fields = {str(k): _text(v) for k, v in document.items()}
    if secret_id.startswith(ELSEWHERE):  # a file of variables may hold words that are no secrets: `eu-west-1`
        named += [who.names for who in observer.environment.authorizations if who.source == secret_id]
        used = {
            *_FIELDS,
            "engine",
            "url",
            "token",
            "health_token",
            *(name for names in named for name in names.values()),
        }
        fields = {k: v for k, v in fields.items() if k in used}
    observer.vault.keep(secret_id, fields, public=told)
    public = {k: v for k, v in fields.items() if k in told}
    return Secret(
        id=secret_id,
        exists=True,
        has_current_version=True,
        current_since=since,
        fields=tuple(sorted(fields)),
        empty=tuple(sorted(name for name, value in fields.items() if not value.strip())),
        unset=tuple(
            sorted(n for n, value in fields.items() if _NEEDED.fullmatch(n) and _UNSET.fullmatch(value.strip()))
        ),
        public=public,
    )


_NEEDED = re.compile(
    r"(?:\w+_)?passw(?:or)?d|user(?:name)?|host|url|(?:\w+_)?secret_key(?:_base)?|signing_key|jwt_secret|health_token",
    re.IGNORECASE,
)
"""Fields without whose real value nothing works, or strangers get in. Keys of other services may be dummies."""
_UNSET = re.compile(
    r"change[-_ ]?(?:me|it)|replace[-_ ]?(?:me|this)|todo|tbd|fixme|placeholder|undefined|null|none"
    r"|<[^<>]*>|\$\{[^{}]*\}|\{\{[^{}]*\}\}",
    re.IGNORECASE,
)


def versions(listed: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The versions of a secret, by their ids, from ListSecrets: each with its staging labels, sorted."""
    found: Mapping[str, list[str]] = listed.get("SecretVersionsToStages") or {}
    return {id_: tuple(sorted(labels)) for id_, labels in sorted(found.items())}


def _document(text: str) -> dict[str, Any] | None:
    """A JSON object; a URL as the field `url`; lines `NAME=VALUE`, as in a file of environment variables."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    if re.fullmatch(r"(?:jdbc:)?[a-z][a-z0-9+.-]*://\S+", text.strip()):
        return {"url": text.strip()}
    lines = [line.strip().removeprefix("export ") for line in text.splitlines()]
    pairs = [_LINE.fullmatch(line) for line in lines if line and not line.startswith("#")]
    if not pairs or not all(pairs):
        return None
    return {pair[1]: pair[2].strip("\"'") for pair in pairs if pair}


_LINE = re.compile(r"([A-Za-z_]\w*)=(.*)")


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool | dict | list) else str(value)
