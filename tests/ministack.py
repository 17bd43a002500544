"""A CloudFormation that really creates, updates and compares: ministack, in its own process and venv.

ministack lacks some resource types (`LACKING`). Exactly these are removed from the templates; `gli infra` applies the
rest.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import yaml

from gli.provision.template import Template

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "infra" / "bin" / "python"
REGION, ACCOUNT = "ap-northeast-2", "000000000000"
LACKING: dict[str, Any] = {
    "AWS::AmazonMQ::Broker": ["amqps://broker.example:5671"],
    "AWS::ApplicationAutoScaling::ScalableTarget": "lacking",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "lacking",
    "AWS::Chatbot::SlackChannelConfiguration": "lacking",
    "AWS::EC2::EIP": "203.0.113.7",
    "AWS::EC2::NatGateway": "nat-0123456789abcdef0",
    "AWS::ECR::RegistryScanningConfiguration": "lacking",
    "AWS::ECS::CapacityProvider": "lacking",
    "AWS::ECS::ClusterCapacityProviderAssociations": "lacking",
    "AWS::IAM::OIDCProvider": "arn:aws:iam::000000000000:oidc-provider/token.actions.githubusercontent.com",
    "AWS::SecretsManager::RotationSchedule": "lacking",
}
"""The types that ministack can't create, and what stands for a reference to one. Their templates are proven by cfn-lint
and by tests/test_infrastructure.py alone. A test compares this list with what ministack says."""
LACKING_ATTRIBUTES = {("AWS::RDS::DBInstance", "MasterUserSecret.SecretArn"): "lacking"}
"""The same for attributes of types that it can create."""
LACKING_PROPERTIES = {("AWS::CloudWatch::Alarm", "Metrics"): "lacking"}
"""The same for resources that have this property: here alarms on an expression over several metrics."""


@dataclass(frozen=True)
class Ministack:
    """A running ministack."""

    url: str

    def client(self, service: str, region: str = REGION) -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@contextmanager
def ministack(folder: Path) -> Iterator[Ministack]:
    """Run a ministack with its files in `folder` until the end of the block."""
    if not PYTHON.exists():
        raise RuntimeError("no .venv/infra: `make .venv/infra.stamp` sets ministack up")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    variables = {
        **os.environ,
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder),
    }
    with (folder / "ministack.log").open("wb") as log:
        process = subprocess.Popen([PYTHON, "-m", "ministack"], env=variables, stdout=log, stderr=log, cwd=folder)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process, folder / "ministack.log")
            yield Ministack(url)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"ministack ended: {log.read_text()[-500:]}")
        try:
            httpx.get(f"{url}/_ministack/health", trust_env=False)
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError(f"ministack does not answer: {log.read_text()[-500:]}")


@dataclass(frozen=True)
class Project:
    """A folder with environments.toml and the reduced templates, in which `gli infra` runs."""

    folder: Path
    aws: Ministack

    def gli(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run `gli infra ARGUMENTS`, with typed input."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }
        return subprocess.run(
            [str(Path(sys.executable).parent / "gli"), "infra", *arguments],
            cwd=self.folder,
            env=variables,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )

    def edit(self, template: str, old: str, new: str) -> None:
        """Change a reduced template."""
        path = self.folder / "infrastructure" / template
        text = path.read_text()
        assert old in text, f"{template} does not hold {old!r}"
        path.write_text(text.replace(old, new))


def project(folder: Path, aws: Ministack, environment: str = "stg") -> Project:
    """The project's own files, for the account that ministack plays."""
    shutil.copytree(ROOT / "infrastructure", folder / "infrastructure")
    text = re.sub(r"(?m)^account_id = .*\n", "", (ROOT / "environments.toml").read_text())
    here = f'[stg.aws]\naccount_id = "{ACCOUNT}"\nendpoint_url = "{aws.url}"\n'
    text, tables = re.subn(r"(?m)^\[stg\.aws\]\n", here, text)
    assert tables == 1, "environments.toml has one table [stg.aws]"
    (folder / "environments.toml").write_text(text)
    stacks = folder / "infrastructure" / "stacks.toml"
    stacks.write_text(stacks.read_text().replace("# Slack", "Slack"))
    values = {**tomllib.loads(stacks.read_text())["parameters"][environment], "Environment": environment}
    for path in (folder / "infrastructure").glob("*.yaml"):
        path.write_text(yaml.safe_dump(reduced(Template(path), values), sort_keys=False, width=1000))
    return Project(folder, aws)


def reduced(template: Template, values: Mapping[str, str]) -> dict[str, Any]:
    """The template without the types in `LACKING`; references to them lead to a stand-in.

    Resources whose condition is false for these parameters are removed too, because ministack's change sets list them.
    """
    types = {name: resource["Type"] for name, resource in template.tables["Resources"].items()}
    gone = {name: LACKING[type_] for name, type_ in types.items() if type_ in LACKING}
    for (type_, key), stand_in in LACKING_PROPERTIES.items():
        found = template.tables["Resources"].items()
        gone |= {n: stand_in for n, r in found if r["Type"] == type_ and key in r.get("Properties", {})}
    attributes = {
        f"{name}.{attribute}": stand_in
        for (type_, attribute), stand_in in LACKING_ATTRIBUTES.items()
        for name in types
        if types[name] == type_
    }
    tables = {k: v for k, v in template.tables.items() if k != "Transform"}
    made = template.resources(values)
    tables["Resources"] = {n: r for n, r in tables["Resources"].items() if n in made and n not in gone}
    return dict(_without(tables, gone, attributes))


def _without(value: Any, gone: dict[str, Any], attributes: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_without(v, gone, attributes) for v in value]
    if isinstance(value, str):
        for name, stand_in in {**gone, **attributes}.items():
            value = value.replace(f"${{{name}}}", str(stand_in))
        return value
    if not isinstance(value, dict):
        return value
    if value.get("Ref") in gone:
        return gone[value["Ref"]]
    named = ".".join(value.get("Fn::GetAtt", []))
    if named in attributes or named.partition(".")[0] in gone:
        return {**gone, **attributes}.get(named, gone.get(named.partition(".")[0]))
    return {k: _without(v, gone, attributes) for k, v in value.items()}
