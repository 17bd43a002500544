"""Seeds GLI's stack, staging and production, through the AWS API. The modules beside this one hold one subject each."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from gli.config.environments import Environment
from sandbox.aws import seed_compute, seed_data, seed_edge, seed_network, seed_watching
from sandbox.aws.account import Account
from sandbox.site import Credentials, Pems, Site, required


@dataclass(frozen=True)
class Seeded:
    """Facts about the seeded account that the rest of the sandbox needs."""

    account_id: str
    region: str
    database_host: str
    cache_host: str
    broker_host: str
    access_key_id: str
    """Keys of the assumed role that a verification run uses; admin calls need no real keys, moto takes any."""
    secret_access_key: str
    session_token: str


def seed(endpoint: str, site: Site, pems: Pems) -> Seeded:
    """Seed both environments, blocking (run it in a thread)."""
    account = Account(endpoint, required(site.environment.aws).region)
    with ThreadPoolExecutor(max_workers=6) as pool:
        edge = pool.submit(seed_edge.seed_shared, account, site, pems)
        compute = pool.submit(seed_compute.seed_shared, account, site)
        stacks = [
            pool.submit(_seed_environment, pool, account, site, environment, credentials, octet, edge, compute)
            for environment, credentials, octet in (
                (site.environment, site.credentials, 10),
                (site.other, Credentials.generate(), 20),  # nobody logs in there, but its secrets must differ
            )
        ]
        keys = pool.submit(_assume_verify_role, account, site.environment)
        data, _ = (stack.result() for stack in stacks)
        account_id, access_key_id, secret_access_key, session_token = keys.result()
    return Seeded(
        account_id=account_id,
        region=account.region,
        database_host=data.database_host,
        cache_host=data.cache_host,
        broker_host=data.broker_host,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        session_token=session_token,
    )


def _seed_environment(
    pool: ThreadPoolExecutor,
    account: Account,
    site: Site,
    environment: Environment,
    credentials: Credentials,
    octet: int,
    shared_edge: Future[seed_edge.Edge],
    shared_compute: Future[None],
) -> seed_data.Data:
    """Seed one environment; each part starts as soon as the resources that it refers to exist."""
    logs = pool.submit(seed_watching.seed_logs, account, environment)
    network = seed_network.seed(account, environment, octet)
    data = seed_data.seed(account, site, environment, credentials, network)
    edge = shared_edge.result()
    distributions = pool.submit(seed_edge.seed_frontends, account, site, environment, edge)
    balancer = seed_compute.seed_balancer(account, environment, network, edge.certificate)
    alarms = pool.submit(seed_watching.seed_alarms, account, environment, balancer, data)
    if environment is site.environment:  # no check reads the other environment's metrics
        seed_watching.seed_metrics(account, environment, balancer, data)
    shared_compute.result()
    seed_compute.seed_services(account, site, environment, network, balancer, data)
    seed_edge.seed_records(account, environment, edge, balancer, distributions.result())
    logs.result()
    alarms.result()
    return data


def _assume_verify_role(account: Account, environment: Environment) -> tuple[str, str, str, str]:
    """Assume the role of a verification run: the account's id, and the keys of a session."""
    sts = account("sts")
    identity = str(sts.get_caller_identity()["Account"])
    role = f"gli-verify-{environment.name}"
    trust = [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{identity}:root"}, "Action": "sts:AssumeRole"}]
    document = json.dumps({"Version": "2012-10-17", "Statement": trust})
    arn = account("iam").create_role(RoleName=role, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    keys = sts.assume_role(RoleArn=arn, RoleSessionName="sandbox", DurationSeconds=43200)["Credentials"]
    return identity, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]
