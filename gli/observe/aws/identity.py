"""Whose credentials these are: confirmed before anything else is asked.

Source of truth: sts GetCallerIdentity, which needs no permission.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from gli.observe.engine.observation import Observation, Unknown, Unobserved
from gli.observe.engine.probe import Observer, probe


class Identity(Observation):
    """The account and the role that the credentials belong to."""

    account: str
    arn: str
    region: str
    objection: str | None = None
    """Why this is not the identity that the environment asks for, and what to do; None where it is."""


@probe(preliminary=True, deadline=20)
async def caller_identity(observer: Observer) -> Identity:
    """Account and ARN of the credentials, held against the environment's `aws` table."""
    aws = observer.environment.aws
    assert aws is not None, "asked only of environments with an aws table"
    answer = await observer.aws.call(observer, "sts", "get_caller_identity")
    account, arn = str(answer["Account"]), str(answer["Arn"])
    name, objection = observer.environment.name, None
    if aws.account_id is None:
        objection = (
            f"environments.toml: [{name}.aws] account_id is not set; these credentials belong to account {account} "
            f"({arn}): write it there if that is {name}"
        )
    elif account != aws.account_id:
        objection = (
            f"wrong AWS account: [{name}] is account {aws.account_id}, these credentials belong to {account} ({arn}); "
            "check AWS_PROFILE, or the role that CI assumes"
        )
    elif not fnmatchcase(arn, aws.role):
        objection = (
            f"wrong AWS role: [{name}] is verified as {aws.role}, these credentials are {arn}; "
            "check AWS_PROFILE, or the role that CI assumes"
        )
    return Identity(account=account, arn=arn, region=aws.region, objection=objection)


@probe(preliminary=True, deadline=20)
async def confirmed_identity(observer: Observer) -> Identity:
    """The identity, where nothing speaks against it; every other probe waits for this one."""
    identity = await observer.see(caller_identity)
    if identity.objection is not None:
        raise Unobserved(Unknown(cause="wrong-account", message=identity.objection))
    return identity
