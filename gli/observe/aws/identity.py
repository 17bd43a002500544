"""The identity of the run's credentials. It is confirmed before any other call.

Source of truth: sts GetCallerIdentity, which needs no permission.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from gli.common.sentences import Said, phrase
from gli.observe.engine.observation import Observation, Unknown, Unobserved
from gli.observe.engine.probe import Observer, probe


class Identity(Observation):
    """The account and the role that the credentials belong to."""

    account: str
    arn: str
    region: str
    objection: Said | None = None
    """Why this is not the environment's identity, and what to do; None if it is."""


@probe(preliminary=True, deadline=20)
async def caller_identity(observer: Observer) -> Identity:
    """Account and ARN of the credentials, compared with the environment's `aws` table."""
    aws = observer.environment.aws
    assert aws is not None, "asked only of environments with an aws table"
    answer = await observer.aws.call(observer, "sts", "get_caller_identity")
    account, arn = str(answer["Account"]), str(answer["Arn"])
    name = observer.environment.name
    objection: str | None = None
    if aws.account_id is None:
        objection = phrase(
            "environments.toml: [{}.aws] account_id is not set; these credentials belong to account {} ({}): "
            "write it there if that is {}",
            *(name, account, arn, name),
        )
    elif account != aws.account_id:
        objection = phrase(
            "wrong AWS account: [{}] is account {}, these credentials belong to {} ({}); "
            "check AWS_PROFILE, or the role that CI assumes",
            *(name, aws.account_id, account, arn),
        )
    elif not fnmatchcase(arn, aws.role):
        objection = phrase(
            "wrong AWS role: [{}] is verified as {}, these credentials are {}; "
            "check AWS_PROFILE, or the role that CI assumes",
            *(name, aws.role, arn),
        )
    return Identity(account=account, arn=arn, region=aws.region, objection=objection)


@probe(preliminary=True, deadline=20)
async def confirmed_identity(observer: Observer) -> Identity:
    """The identity, if it is the environment's. Raises `Unobserved` otherwise. All other probes wait for this one."""
    identity = await observer.see(caller_identity)
    if identity.objection is not None:
        raise Unobserved(Unknown(cause="wrong-account", message=identity.objection))
    return identity
