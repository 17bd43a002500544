"""The credentials of a run, as boto3 finds them: variables, profiles, SSO, web identity, processes, containers,
instances.

Loading credentials is not probing: it calls sts, sso and sso-oidc with clients of its own, which the guard of the
probes' clients does not see. Source of truth: the AWS SDKs and Tools Reference Guide, "Standardized credential
providers".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gli.common.sentences import phrase
from gli.observe.engine.observation import Unobserved, unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.parts import Aws

_ROLE_SESSION = "gli-verify"
_NONE = "no AWS credentials for [{}]"
_LOADING = frozenset(
    {"AssumeRole", "AssumeRoleWithWebIdentity", "AssumeRoleWithSAML", "CreateToken", "CreateOAuth2Token"}
    | {"GetRoleCredentials"}
)
"""Operations that load credentials. No probe asks for them."""


def session_of(environment: Environment, aws: Aws) -> Any:
    """A botocore session with the credentials of the environment's profile, or of the usual chain.

    Raises `Unobserved` if there are no credentials, or if only a person can provide them.
    """
    import botocore.session
    from botocore import exceptions as e

    from gli.observe.engine import aws_models

    core = botocore.session.Session(profile=aws.profile)
    core.register_component("data_loader", aws_models.loader())
    if aws.credentials_file:
        core.set_config_variable("credentials_file", aws.credentials_file)
        core.set_config_variable("config_file", os.devnull)
    try:
        if core.get_config_variable("region") is None:  # of STS and SSO; botocore does not read AWS_REGION
            core.set_config_variable("region", os.environ.get("AWS_REGION") or aws.region)
        found = core.get_credentials()
        if found is None:
            raise e.NoCredentialsError
        if found.method == "assume-role":
            _refuse_prompts(core, environment.name)
        found.get_frozen_credentials()
    except (e.BotoCoreError, e.ClientError) as error:
        raise not_given(error, environment.name, aws) from None
    return core


def session_as(source: Any, role: str, aws: Aws) -> Any:
    """A botocore session that assumes `role` with the credentials of a boto3 session, and renews its credentials before
    they expire.
    """
    import botocore.session
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        CredentialProvider,
        CredentialResolver,
        DeferredRefreshableCredentials,
    )

    from gli.observe.engine import aws_models

    def client(service: str, **keys: Any) -> Any:
        return source.client(service, region_name=aws.region, endpoint_url=aws.endpoint_url, **keys)

    fetcher = AssumeRoleCredentialFetcher(
        client_creator=client,
        source_credentials=source.get_credentials(),
        role_arn=role,
        extra_args={"RoleSessionName": _ROLE_SESSION},
    )

    class Taken(CredentialProvider):  # type: ignore[misc]
        METHOD = "assume-role"

        def load(self) -> Any:
            return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    session = botocore.session.Session()
    session.register_component("data_loader", aws_models.loader())
    session.register_component("credential_provider", CredentialResolver([Taken()]))
    return session


def loads_credentials(error: Any) -> bool:
    """Whether the error came from an operation that loads credentials, and not from the operation that a probe asked
    for.
    """
    return getattr(error, "operation_name", "") in _LOADING


def credential_errors() -> tuple[type[Exception], ...]:
    """The exceptions of botocore for credentials that it can't load or renew."""
    from botocore import exceptions as e

    return (
        e.NoCredentialsError,
        e.PartialCredentialsError,
        e.CredentialRetrievalError,
        e.MetadataRetrievalError,
        e.ProfileNotFound,
        e.InvalidConfigError,
        e.ConfigParseError,
        e.SSOError,
        e.TokenRetrievalError,
        e.LoginError,
        e.RefreshWithMFAUnsupportedError,
    )


def not_given(error: Exception, name: str, aws: Aws, *, renewing: bool = False) -> Unobserved:
    """The `Unobserved` for credentials that can't be loaded, or that can't be renewed in the middle of a run."""
    from botocore import exceptions as e

    profile = aws.profile or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    whose: str = phrase("the profile {!r}", profile) if profile else phrase("the environment")
    if isinstance(error, e.SSOError | e.TokenRetrievalError):
        command = "aws sso login" + (f" --profile {profile}" if profile else "")
        why: str = phrase("the SSO session of {} has ended or was never begun: run `{}` ({})", whose, command, error)
    elif isinstance(error, e.LoginError):
        why = phrase("the login session of {} has ended: run `aws login` again ({})", whose, error)
    elif isinstance(error, e.ProfileNotFound) or (isinstance(error, e.NoCredentialsError) and profile):
        why = phrase("profile {!r} gives none ({})", profile, error)
    elif isinstance(error, e.NoCredentialsError):
        why = phrase("set AWS_PROFILE, or `aws.profile` in the file (in CI, assume the role first)")
    elif isinstance(error, e.ClientError):
        why = phrase("{} was refused to {}: {}", _taken(error), whose, _answer(error))
    else:
        why = phrase("the credentials of {} can't be loaded: {}", whose, error)
    if renewing:
        lead = phrase("the AWS credentials expired in the middle of the run, and can't be renewed")
    else:
        lead = phrase(_NONE, name)
    return unknown("no-credentials", phrase("{}: {}", lead, why))


def _taken(error: Any) -> str:
    operation = str(error.operation_name)
    return {
        "AssumeRole": phrase("taking the role (sts:AssumeRole)"),
        "AssumeRoleWithWebIdentity": phrase(
            "taking the role with a web identity token (sts:AssumeRoleWithWebIdentity)"
        ),
        "GetRoleCredentials": phrase("the role of the SSO account (sso:GetRoleCredentials)"),
    }.get(operation, operation)


def _answer(error: Any) -> str:
    found = error.response.get("Error", {})
    return f"{found.get('Code', '')}: {found.get('Message', '')}"


def _refuse_prompts(core: Any, environment: str) -> None:
    """Raises if a profile on the way to the role demands an MFA code: nobody is there to type one."""
    profiles: Mapping[str, Mapping[str, str]] = core.full_config.get("profiles", {})
    name: str | None = core.profile or "default"
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        if profiles.get(name, {}).get("mfa_serial"):
            own = f"aws configure export-credentials --profile {core.profile or 'default'} --format env"
            raise unknown(
                "no-credentials",
                phrase(
                    "{}: the profile {!r} wants an MFA code, and a run asks nobody for one: get them first, with "
                    '`eval "$({})"`, and run without AWS_PROFILE and `aws.profile`',
                    phrase(_NONE, environment),
                    name,
                    own,
                ),
            )
        name = profiles.get(name, {}).get("source_profile")
