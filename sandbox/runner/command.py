"""`python -m sandbox run-workflow REPOSITORY`: the deploy workflow for the head of the environment's branch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3

from gli.config import environments
from gli.config.environments import Environment
from sandbox import control, repositories
from sandbox.aws.account import EDGE_REGION
from sandbox.runner.proxy import Proxy
from sandbox.runner.run import Run
from sandbox.site import required
from sandbox.state import Place

_KEYS = {"AWS_ACCESS_KEY_ID": "deploys", "AWS_SECRET_ACCESS_KEY": "deploys"}


def run_workflow(place: Place, socket: Path, repository: str, say: Callable[[str], None]) -> bool:
    """Run it and let the sandbox's GitHub know how it ended; whether it ended with success."""
    os.environ["GLI_SANDBOX"] = place.name
    environment = environments.load(place.root, place.environment)
    status: dict[str, Any] = control.ask(socket, {"do": "status"})["status"]
    remote = Path(status["git_remotes"][repository])
    commit = repositories.refs(remote, "refs/heads")[environment.branch]
    with Proxy(environment.connect_to) as proxy:
        run = Run(
            repository=repository,
            branch=environment.branch,
            commit=commit,
            remotes=remote.parent,
            variables=_variables(environment, repository, status["aws_endpoint_url"]),
            credentials={**_KEYS, "AWS_ENDPOINT_URL": status["aws_endpoint_url"]},
            environment=_environment(proxy, status["ca_file"]),
            say=say,
        )
        done = run.play()
    ended = {"do": "ran", "repository": repository, "commit": commit, "conclusion": "success" if done else "failure"}
    control.ask(socket, ended)
    return done


def _environment(proxy: Proxy, ca_file: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTEST_"))}
    trust = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE"), ca_file)
    return kept | trust | {"HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1", "AWS_PAGER": ""}


def _variables(environment: Environment, repository: str, endpoint: str) -> Mapping[str, str]:
    """The variables of the repository's GitHub environment (docs/pipelines.md)."""
    aws, prefix = required(environment.aws), required(environment.alarms).prefix
    found = {
        "ENVIRONMENT": environment.name,
        "AWS_REGION": aws.region,
        "DEPLOY_ROLE_ARN": f"arn:aws:iam::{aws.account_id}:role/{prefix}deploy",
    }
    for service in environment.services.values():
        if service.repository == repository:
            where = required(service.ecs)
            url = service.url if service.websocket else f"{service.url}{service.health_path}"
            found |= {
                "IMAGE": f"{aws.account_id}.dkr.ecr.{aws.region}.amazonaws.com/{service.image}",
                "CLUSTER": where.cluster,
                "SERVICE": where.service,
                "URL": url,
                "ORIGIN": next((f.url for f in environment.frontends.values()), ""),
            }
    for frontend in environment.frontends.values():
        if frontend.repository == repository:
            client = boto3.client(
                "cloudfront",
                region_name=EDGE_REGION,
                endpoint_url=endpoint,
                aws_access_key_id="deploys",
                aws_secret_access_key="deploys",
            )
            listed = client.list_distributions()["DistributionList"]["Items"]
            distribution = next(d["Id"] for d in listed if frontend.host in d["Aliases"].get("Items", []))
            found |= {"BUCKET": required(frontend.bucket), "DISTRIBUTION": distribution, "URL": frontend.url}
    return found
