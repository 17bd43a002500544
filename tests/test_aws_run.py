"""A whole run with a profile that assumes a role, against moto's STS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ENVIRONMENT, ROOT, Project
from sandbox.variants import known

ACCOUNT = "123456789012"
CHECK = """
def test_aws_caller_identity(caller_identity, target):
    assert caller_identity.objection is None, caller_identity.objection
"""
CONFTEST = """
from gli.observe.aws import identity
from gli.run.plugin import fixture_for

caller_identity = fixture_for(identity.caller_identity)
"""


@pytest.fixture
def sts() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_a_run_with_a_profile_that_assumes_a_role_is_go(project: Project, sts: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile people]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = secret\n"
        f"[profile stg]\nrole_arn = arn:aws:iam::{ACCOUNT}:role/gli-verify-stg\nsource_profile = people\n"
    )
    aws = 'region = "ap-northeast-2"\nrole = "arn:aws:sts::*:assumed-role/gli-verify-*/*"\nprofile = "stg"\n'
    aws += f'endpoint_url = "{sts}"\n'
    project.write("environments.toml", f'{ENVIRONMENT}[own.aws]\n{aws}account_id = "{ACCOUNT}"\n')
    project.write("conftest.py", CONFTEST)
    project.rows("aws-caller-identity", each="account")
    project.checks(CHECK)
    ran = project.run(env={"AWS_ENDPOINT_URL": sts, "AWS_CONFIG_FILE": str(config)})
    assert (ran.code, ran.last_line) == (0, "VERDICT own: GO"), ran.output


def test_every_difference_from_moto_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "aws.md").read_text()
    rows = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert rows == [str(n) for n in range(1, 56)]
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert missing == []
    played = re.findall(r"variants? (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*)", text)
    assert {name.strip("`") for names in played for name in names.split(", ")} <= set(known())
