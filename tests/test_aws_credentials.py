"""Common forms of credentials load, and the probes' guard does not block them; a failure is one sentence.

STS is moto's. Stand-ins play the SSO portal, the token service, and the metadata of an instance and a container; their
answers match botocore's models.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from served import in_a_thread

from gli.config.environments import Environment
from gli.config.parts import Aws
from gli.observe.engine.aws_session import AwsSession
from gli.observe.engine.guard import WriteRefused
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.remote_clocks import RemoteClocks

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/gli-verify-stg"
SOON = datetime.now(UTC) + timedelta(hours=1)


class Nobody:
    """Ignores every count."""

    def count(self, kind: str, n: int = 1) -> None: ...

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()


class Portal:
    """A stand-in on loopback: maps the beginning of a path to its answer, JSON or text."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        portal = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                portal.asked.append(f"{self.command} {self.path} {body}")
                known = [a for path, a in portal.answers.items() if self.path.startswith(path)]
                status, document = known[0] if known else (404, {"message": "no such path"})
                text = document if isinstance(document, str) else json.dumps(document)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                if status >= 400 and isinstance(document, dict):
                    self.send_header("x-amzn-ErrorType", str(document.get("__type", "Error")))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = _answer

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        in_a_thread(self.server)


@pytest.fixture(scope="module")
def sts() -> Iterator[str]:
    """moto's server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def portal() -> Iterator[Portal]:
    found = Portal()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sts: str) -> Path:
    """A home folder without credentials, on a machine where moto plays every AWS service."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", sts)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path


def configure(home: Path, text: str) -> None:
    (home / ".aws" / "config").write_text(text)


KEYS = "[profile people]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret\n"


def session(**aws: Any) -> AwsSession:
    """A session whose probes ask moto too: only what loads credentials reads AWS_ENDPOINT_URL."""
    aws = {"endpoint_url": os.environ.get("AWS_ENDPOINT_URL")} | aws
    table = Aws(region="ap-northeast-2", account_id=ACCOUNT, **aws)
    return AwsSession(Environment(name="stg", branch="stg", aws=table), RemoteClocks())


def arn(asked: AwsSession) -> str:
    return str(asyncio.run(asked.call(Nobody(), "sts", "get_caller_identity"))["Arn"])


def refused(asked: AwsSession) -> str:
    with pytest.raises(Unobserved) as raised:
        arn(asked)
    assert raised.value.unknown.cause == "no-credentials"
    return raised.value.unknown.message


def test_a_profile_assumes_its_role(home: Path) -> None:
    configure(home, f"{KEYS}[profile stg]\nrole_arn = {ROLE}\nrole_session_name = me\nsource_profile = people\n")
    assert arn(session(profile="stg")).endswith(":assumed-role/gli-verify-stg/me")


def test_a_profile_assumes_a_role_through_another_role(home: Path) -> None:
    first = f"[profile first]\nrole_arn = arn:aws:iam::{ACCOUNT}:role/first\nsource_profile = people\n"
    configure(home, f"{KEYS}{first}[profile stg]\nrole_arn = {ROLE}\nsource_profile = first\n")
    assert ":assumed-role/gli-verify-stg/" in arn(session(profile="stg"))


def test_a_role_may_be_assumed_with_the_keys_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    configure(home, f"[profile stg]\nrole_arn = {ROLE}\ncredential_source = Environment\n")
    assert ":assumed-role/gli-verify-stg/" in arn(session(profile="stg"))


def test_the_variable_aws_profile_names_the_profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, f"{KEYS}[profile stg]\nrole_arn = {ROLE}\nsource_profile = people\n")
    monkeypatch.setenv("AWS_PROFILE", "stg")
    assert ":assumed-role/gli-verify-stg/" in arn(session())


def test_a_profile_with_mfa_is_refused_without_a_prompt(home: Path) -> None:
    mfa = f"mfa_serial = arn:aws:iam::{ACCOUNT}:mfa/me\n"
    configure(home, f"{KEYS}[profile stg]\nrole_arn = {ROLE}\nsource_profile = people\n{mfa}")
    said = refused(session(profile="stg"))
    assert "the profile 'stg' wants an MFA code, and a run asks nobody for one" in said
    assert 'eval "$(aws configure export-credentials --profile stg --format env)"' in said


@pytest.mark.parametrize("region", ["AWS_REGION", "AWS_DEFAULT_REGION", None])
def test_a_web_identity_token_assumes_the_role(home: Path, monkeypatch: pytest.MonkeyPatch, region: str | None) -> None:
    (home / "token").write_text("header.claims.signature")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    if region:
        monkeypatch.setenv(region, "eu-central-1")
    assert ":assumed-role/gli-verify-stg/" in arn(session())


def test_a_refused_web_identity_is_reported_as_such(
    home: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    denied = (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        "<Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error>"
        "<RequestId>1</RequestId></ErrorResponse>"
    )
    portal.answers["/"] = (403, denied)
    (home / "token").write_text("header.claims.signature")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", portal.url)
    said = refused(session())
    assert "taking the role with a web identity token (sts:AssumeRoleWithWebIdentity) was refused" in said


def sso(home: Path, monkeypatch: pytest.MonkeyPatch, *, expires: datetime) -> None:
    """A profile of IAM Identity Center, and the token that `aws sso login` leaves."""
    import botocore.credentials
    import botocore.tokens

    # botocore found the home folder at its import
    for provider in (botocore.credentials.SSOProvider, botocore.tokens.SSOTokenProvider):
        monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", str(home / ".aws" / "sso" / "cache"))
    configure(
        home,
        "[sso-session people]\nsso_start_url = https://people.awsapps.com/start\nsso_region = ap-northeast-2\n"
        "sso_registration_scopes = sso:account:access\n"
        f"[profile stg]\nsso_session = people\nsso_account_id = {ACCOUNT}\nsso_role_name = GliVerify\n",
    )
    cache = home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {
        "startUrl": "https://people.awsapps.com/start",
        "region": "ap-northeast-2",
        "accessToken": "token",
        "expiresAt": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    (cache / f"{hashlib.sha1(b'people').hexdigest()}.json").write_text(json.dumps(token))


def test_a_profile_of_sso_loads(home: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal) -> None:
    sso(home, monkeypatch, expires=SOON)
    keys = {"accessKeyId": "ASIAIOSFODNN7EXAMPLE", "secretAccessKey": "secret", "sessionToken": "session"}
    expiration = int(SOON.timestamp() * 1000)
    portal.answers["/federation/credentials"] = (200, {"roleCredentials": keys | {"expiration": expiration}})
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", portal.url)
    assert arn(session(profile="stg"))
    assert [a for a in portal.asked if "role_name=GliVerify" in a]


def test_an_expired_sso_session_tells_how_to_log_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sso(home, monkeypatch, expires=datetime.now(UTC) - timedelta(hours=1))
    assert "run `aws sso login --profile stg`" in refused(session(profile="stg"))


def test_a_process_gives_credentials(home: Path) -> None:
    given = {"Version": 1, "AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "SecretAccessKey": "s", "SessionToken": "t"}
    (home / "given.json").write_text(json.dumps(given | {"Expiration": SOON.isoformat()}))
    configure(home, f"[profile stg]\ncredential_process = cat {home / 'given.json'}\n")
    assert arn(session(profile="stg"))


def test_a_failed_credential_process_is_reported_as_such(home: Path) -> None:
    configure(home, "[profile stg]\ncredential_process = false\n")
    assert "the credentials of the profile 'stg' can't be loaded" in refused(session(profile="stg"))


def metadata() -> dict[str, Any]:
    return {
        "Code": "Success",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "SecretAccessKey": "secret",
        "Token": "session",
        "Expiration": SOON.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def test_an_instance_gives_credentials(home: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", portal.url)
    portal.answers["/latest/api/token"] = (200, "token")
    portal.answers["/latest/meta-data/iam/security-credentials/gli-verify"] = (200, metadata())
    portal.answers["/latest/meta-data/iam/security-credentials/"] = (200, "gli-verify")
    assert arn(session())


def test_a_container_gives_credentials(home: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal) -> None:
    portal.answers["/task"] = (200, metadata() | {"RoleArn": ROLE})
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{portal.url}/task")
    assert arn(session())


def test_a_refused_role_is_reported_as_such(home: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal) -> None:
    """The message does not blame a missing permission for the probe's own call."""
    portal.answers["/"] = (403, error("AccessDenied", "User: me is not authorized to perform: sts:AssumeRole"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", portal.url)
    configure(home, f"{KEYS}[profile stg]\nrole_arn = {ROLE}\nsource_profile = people\n")
    said = refused(session(profile="stg"))
    assert "taking the role (sts:AssumeRole) was refused to the profile 'stg'" in said.replace("  ", " ")


def error(code: str, message: str) -> str:
    return (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>1</RequestId></ErrorResponse>"
    )


def test_credentials_that_expire_during_a_run_are_reported_as_such(home: Path, portal: Portal) -> None:
    configure(home, KEYS)
    identity = f"<GetCallerIdentityResult><Arn>{ROLE}</Arn><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
    portal.answers["/"] = (200, f"<GetCallerIdentityResponse>{identity}</GetCallerIdentityResponse>")
    asked = session(profile="people", endpoint_url=portal.url)
    arn(asked)
    portal.answers["/"] = (403, error("ExpiredToken", "The security token included in the request is expired"))
    with pytest.raises(Unobserved, match="the AWS credentials expired in the middle of the run: ExpiredToken"):
        asyncio.run(asked.call(Nobody(), "iam", "get_account_authorization_details"))


def test_a_role_that_cannot_be_renewed_is_reported_as_such(
    home: Path, monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    """Credentials that expire at once make botocore renew them at the next call."""
    short = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    taken = (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        f"<AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        f"<SessionToken>t</SessionToken><Expiration>{short}</Expiration></Credentials></AssumeRoleResult>"
        "</AssumeRoleResponse>"
    )
    portal.answers["/"] = (200, taken)
    configure(home, f"{KEYS}[profile stg]\nrole_arn = {ROLE}\nsource_profile = people\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", portal.url)
    asked = session(profile="stg", endpoint_url=portal.url)
    asyncio.run(asked.call(Nobody(), "ecs", "describe_clusters"))
    portal.answers["/"] = (403, error("ExpiredToken", "The security token included in the request is expired"))
    with pytest.raises(Unobserved, match="expired in the middle of the run, and can't be renewed"):
        asyncio.run(asked.call(Nobody(), "ecs", "describe_clusters"))


@pytest.mark.parametrize(
    ("variable", "host"),
    [
        ("AWS_USE_FIPS_ENDPOINT", "https://ecs-fips.us-west-2.amazonaws.com"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "https://ecs.us-west-2.api.aws"),
    ],
)
def test_endpoints_follow_the_settings_of_the_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(variable, "true")
    configure(home, KEYS)
    asked = session(profile="people")
    assert asked._client("ecs", "us-west-2").meta.endpoint_url == host


def test_the_guard_protects_the_clients_of_a_role_too(home: Path) -> None:
    configure(home, KEYS)
    dns = f"arn:aws:iam::{ACCOUNT}:role/gli-verify-dns"
    asked = session(profile="people", roles={"dns": dns})
    asyncio.run(asked.call(Nobody(), "route53", "list_hosted_zones_by_name"))
    with pytest.raises(WriteRefused):
        asked._client("route53", "ap-northeast-2", dns).delete_hosted_zone(Id="Z1")


def test_another_account_is_asked_with_its_role(home: Path) -> None:
    """Only the role of the other account sees the zone, and only with that role the account is confirmed."""
    configure(home, KEYS)
    dns = "arn:aws:iam::210987654321:role/gli-verify-dns"
    asked = session(profile="people", roles={"dns": dns})
    assert asyncio.run(asked.call(Nobody(), "route53", "list_hosted_zones_by_name"))["HostedZones"] == []
    seen = asked._session(dns).client("sts", region_name="ap-northeast-2").get_caller_identity()
    assert seen["Account"] == "210987654321"
    assert asked._clients.keys() == {(dns, "route53", "ap-northeast-2")}


def test_a_role_of_another_account_that_cannot_be_assumed_is_named(home: Path, portal: Portal) -> None:
    configure(home, KEYS)
    dns = "arn:aws:iam::210987654321:role/gli-verify-dns"
    portal.answers["/"] = (403, error("AccessDenied", "not authorized to perform: sts:AssumeRole"))
    asked = session(profile="people", roles={"dns": dns}, endpoint_url=portal.url)
    with pytest.raises(Unobserved, match=f"the role {dns} can't be taken: AccessDenied"):
        asyncio.run(asked.call(Nobody(), "route53", "list_hosted_zones_by_name"))


@pytest.mark.parametrize(
    "moved", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECS", "endpoint_url of a profile", "a model in the home folder"]
)
def test_nothing_on_the_machine_leads_a_probe_to_another_host(
    home: Path, monkeypatch: pytest.MonkeyPatch, moved: str
) -> None:
    elsewhere = "http://127.0.0.1:9"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    configure(home, KEYS + (f"endpoint_url = {elsewhere}\n" if "profile" in moved else ""))
    if moved.startswith("AWS_"):
        monkeypatch.setenv(moved, elsewhere)
    if "model" in moved:
        rules = {"version": "1.0", "parameters": {}, "rules": [{"type": "endpoint", "endpoint": {"url": elsewhere}}]}
        model = home / "models/ecs/2014-11-13/endpoint-rule-set-1.json"
        model.parent.mkdir(parents=True)
        model.write_text(json.dumps(rules))
        monkeypatch.setenv("AWS_DATA_PATH", str(home / "models"))
    asked = session(profile="people", endpoint_url=None)
    assert asked._client("ecs", "us-west-2").meta.endpoint_url == "https://ecs.us-west-2.amazonaws.com"
