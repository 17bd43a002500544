"""The least-privilege IAM policy of a run: exactly the actions that the checks of an environment name.

Source of truth: the IAM service authorization reference. Most describe and list actions know no resources and take
`*`; what can be scoped, buckets and the values of secrets, is scoped to what the environment names.
"""

from __future__ import annotations

from typing import Any

from gli.common.errors import UsageError
from gli.common.partitions import domain_of, partition_of
from gli.config.catalogue import Catalogue
from gli.config.environments import Environment

_OF_A_BUCKET = "s3:"
_OF_THE_ACCOUNT = frozenset({"s3:GetAccountPublicAccessBlock"})
"""Actions whose names sound like a bucket's, but which AWS asks of the account."""
_OF_A_SECRET = frozenset({"secretsmanager:GetSecretValue"})


def policy(catalogue: Catalogue, environment: Environment) -> dict[str, Any]:
    """The policy document; raises `UsageError` for an environment without AWS."""
    if environment.aws is None:
        raise UsageError(f"environments.toml: [{environment.name}] has no aws table: it needs no policy")
    actions = {action for case in catalogue.cases(environment, None) for action in case.check.iam}
    of_buckets = {a for a in actions - _OF_THE_ACCOUNT if a.startswith(_OF_A_BUCKET)}
    of_secrets = actions & _OF_A_SECRET
    buckets = sorted(f.bucket for f in environment.frontends.values() if f.bucket)
    account = environment.aws.account_id or "*"
    aws = f"arn:{partition_of(environment.aws.region)}"
    secrets = f"{aws}:secretsmanager:{environment.aws.region}:{account}:secret:"
    statements = [
        _allow("Look", actions - of_buckets - of_secrets, ["*"]),
        _allow("Buckets", of_buckets, [arn for b in buckets for arn in (f"{aws}:s3:::{b}", f"{aws}:s3:::{b}/*")]),
        # Secrets Manager adds a hyphen and six characters to a secret's name.
        _allow("Secrets", of_secrets, [f"{secrets}{s}-??????" for s in environment.secrets]),
    ]
    if of_secrets and environment.secrets:
        statements.append(_decrypt(environment.aws.region, [f"{secrets}{s}-??????" for s in environment.secrets]))
    if parameters := environment.parameters:
        prefix = f"{aws}:ssm:{environment.aws.region}:{account}:parameter/"
        names = [f"{prefix}{name.strip('/')}{'/*' if name.endswith('/') else ''}" for name in parameters]
        statements.append(_allow("Parameters", {"ssm:GetParameters", "ssm:GetParametersByPath"}, names))
    if taken := [role for part in ("counterpart", "dns", "images") if (role := environment.aws.roles.get(part))]:
        statements.append(_allow("OtherAccounts", {"sts:AssumeRole"}, sorted(set(taken))))
    return {"Version": "2012-10-17", "Statement": [s for s in statements if s["Action"] and s["Resource"]]}


def policy_to_look(actions: set[str]) -> dict[str, Any]:
    """The policy document for these actions on everything."""
    return {"Version": "2012-10-17", "Statement": [_allow("Look", actions, ["*"])]}


def _decrypt(region: str, secrets: list[str]) -> dict[str, Any]:
    """The statement for secrets under a customer key: only Secrets Manager may decrypt, and only these secrets."""
    condition = {
        "StringEquals": {"kms:ViaService": f"secretsmanager.{region}.{domain_of(region)}"},
        "StringLike": {"kms:EncryptionContext:SecretARN": secrets},
    }
    return _allow("SecretsUnderAKey", {"kms:Decrypt"}, ["*"]) | {"Condition": condition}


def _allow(sid: str, actions: set[str] | frozenset[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": resources}
