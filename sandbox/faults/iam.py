"""Faults of roles and their policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.aws.seed_compute import deploy_role
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import KEY_FOR_CLOUDFRONT, api_ecs_service, encrypted_bucket
from sandbox.site import required


def _role(sandbox: Sandbox, kind: str) -> str:
    """The name of a role of the API's tasks: `executionRoleArn` or `taskRoleArn`."""
    arn = api_ecs_service(sandbox)["taskDefinition"]
    definition = sandbox.aws("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return str(definition[kind]).rpartition("/")[2]


@contextmanager
def _role_policy(sandbox: Sandbox, role: str, change: Callable[[list[dict[str, Any]]], object]) -> Iterator[None]:
    """Change the statements of the first inline policy of a role of the API's tasks."""
    iam, name = sandbox.aws("iam"), _role(sandbox, role)
    policy = iam.list_role_policies(RoleName=name)["PolicyNames"][0]
    before = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    after = json.loads(json.dumps(before))
    change(after["Statement"])
    iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(after))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(before))


@fault("execution-role-without-secrets", turns_red=["iam-execution-role"])
def execution_role_without_secrets(sandbox: Sandbox) -> Iterator[None]:
    """The execution role may no longer read the secrets."""
    with _role_policy(sandbox, "executionRoleArn", lambda statements: statements.pop()):
        yield


@contextmanager
def _suite_may(sandbox: Sandbox, *actions: str, on: str = "*") -> Iterator[None]:
    """Allow the suite's role more than it needs."""
    iam, role = sandbox.aws("iam"), f"gli-verify-{sandbox.environment.name}"
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": on}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_role_policy(RoleName=role, PolicyName="just-for-once", PolicyDocument=document)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="just-for-once")


@fault("suite-may-deploy", turns_red=["suite-role-readonly"])
def suite_may_deploy(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may update any ECS service."""
    with _suite_may(sandbox, "ecs:Describe*", "ecs:Update*"):
        yield


@fault("suite-may-take-roles", turns_red=["suite-role-readonly"])
def suite_may_take_roles(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may assume the deploy role."""
    with _suite_may(sandbox, "sts:AssumeRole", on=f"arn:aws:iam::*:role/{deploy_role(sandbox.environment)}"):
        yield


@fault("suite-may-read-any-secret", turns_red=["suite-role-readonly"])
def suite_may_read_any_secret(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may read every secret of the account."""
    with _suite_may(sandbox, "secretsmanager:Get*"):
        yield


@contextmanager
def _deploy_trust(sandbox: Sandbox, old: str, new: str) -> Iterator[None]:
    """Replace a text in the trust policy of the deploy role."""
    iam, name = sandbox.aws("iam"), deploy_role(sandbox.environment)
    before = json.dumps(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
    if old not in before:
        raise LookupError(f"the trust policy of {name} has no {old}")
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=before.replace(old, new))
    try:
        yield
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=before)


@fault("deploy-role-open", turns_red=["iam-github-oidc"])
def deploy_role_open(sandbox: Sandbox) -> Iterator[None]:
    """Any branch of a repository may deploy, also the branch of a pull request."""
    place = f":environment:{required(sandbox.environment.github).environment}"
    with _deploy_trust(sandbox, place, ":*"):
        yield


@fault("deploy-role-for-another-branch", turns_red=["iam-deploy-role"])
def deploy_role_for_another_branch(sandbox: Sandbox) -> Iterator[None]:
    """The deploy role trusts a branch that is no more: the next deploy may not take it."""
    place = f":environment:{required(sandbox.environment.github).environment}"
    with _deploy_trust(sandbox, place, ":ref:refs/heads/release-2024"):
        yield


@fault("deploy-role-for-everybody", turns_red=["iam-deploy-role", "iam-github-oidc"])
def deploy_role_for_everybody(sandbox: Sandbox) -> Iterator[None]:
    """The trust policy of the deploy role names no repository: whoever has an account at GitHub may deploy."""
    owner = required(sandbox.environment.github).owner
    with _deploy_trust(sandbox, f"repo:{owner}/gli_*:", "repo:*:"):
        yield


@fault("deploy-role-for-another-environment", turns_red=["iam-deploy-role"])
def deploy_role_for_another_environment(sandbox: Sandbox) -> Iterator[None]:
    """The GitHub environment was renamed in the workflow, and not in the role's trust policy."""
    place = f":environment:{required(sandbox.environment.github).environment}"
    with _deploy_trust(sandbox, place, f"{place}-2"):
        yield


@fault("execution-role-denied", turns_red=["iam-execution-role"])
def execution_role_denied(sandbox: Sandbox) -> Iterator[None]:
    """One statement allows the execution role to pull images, and another statement denies it."""
    denial = {"Effect": "Deny", "Action": "ecr:*", "NotResource": "arn:aws:ecr:*:*:repository/somebody-elses"}
    with _role_policy(sandbox, "executionRoleArn", lambda statements: statements.append(denial)):
        yield


@fault("execution-role-untrusting", turns_red=["iam-execution-role"])
def execution_role_untrusting(sandbox: Sandbox) -> Iterator[None]:
    """The execution role trusts EC2 instead of ECS."""
    iam, name = sandbox.aws("iam"), _role(sandbox, "executionRoleArn")
    before = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    after = json.loads(json.dumps(before).replace("ecs-tasks.", "ec2."))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(after))
    yield
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


@fault("task-role-may-anything", turns_red=["iam-task-role-least"])
def task_role_may_anything(sandbox: Sandbox) -> Iterator[None]:
    """The API's task role may do anything with any bucket."""
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}
    with _role_policy(sandbox, "taskRoleArn", lambda statements: statements.append(everything)):
        yield


@fault("task-role-may-anything-by-arn", turns_red=["iam-task-role-least"])
def task_role_may_anything_by_arn(sandbox: Sandbox) -> Iterator[None]:
    """The API's task role may do anything with any resource, written with wildcards in the ARN."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:*:*:*:*"}
    with _role_policy(sandbox, "taskRoleArn", lambda statements: statements.append(everything)):
        yield


@fault("task-role-of-administrators", turns_red=["iam-task-role-least"])
def task_role_of_administrators(sandbox: Sandbox) -> Iterator[None]:
    """A managed policy that allows everything is attached to the API's task role."""
    iam, name = sandbox.aws("iam"), _role(sandbox, "taskRoleArn")
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    arn = iam.create_policy(PolicyName="gli-everything", PolicyDocument=json.dumps(everything))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    yield
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)


@fault("secret-key-dying", turns_red=["kms-keys-usable"])
def secret_key_dying(sandbox: Sandbox) -> Iterator[None]:
    """The customer's key of a secret will be deleted in a week, and opens nothing already."""
    kms, secretsmanager, iam = sandbox.aws("kms"), sandbox.aws("secretsmanager"), sandbox.aws("iam")
    key = kms.create_key(Description="secrets")["KeyMetadata"]
    name, role = sandbox.environment.services["api"].deep_health_secret, _role(sandbox, "executionRoleArn")
    secretsmanager.update_secret(SecretId=name, KmsKeyId=key["Arn"])
    allow = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key["Arn"]}
    document = json.dumps({"Version": "2012-10-17", "Statement": allow})
    iam.put_role_policy(RoleName=role, PolicyName="decrypt", PolicyDocument=document)
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    yield
    iam.delete_role_policy(RoleName=role, PolicyName="decrypt")
    secretsmanager.update_secret(SecretId=name, KmsKeyId="alias/aws/secretsmanager")


@fault("database-key-dying", turns_red=["kms-keys-usable"])
def database_key_dying(sandbox: Sandbox) -> Iterator[None]:
    """The key that encrypts the database's storage will be deleted in a week: nobody opens its storage or its snapshots
    then."""
    kms, instance = sandbox.aws("kms"), required(sandbox.environment.database).instance
    key, region = kms.create_key(Description="database")["KeyMetadata"], required(sandbox.environment.aws).region
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    undo = sandbox.aws_overlay("database", region=region, instance=instance, kms_key_id=key["Arn"])
    yield
    sandbox.aws_overlay("database", **undo)


@fault("bucket-key-disabled", turns_red=["kms-keys-usable"])
def bucket_key_disabled(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket encrypts with a key that somebody disabled: uploads fail, and no file can be read."""
    kms = sandbox.aws("kms")
    key = kms.create_key(Description="frontends", Policy=json.dumps(KEY_FOR_CLOUDFRONT))["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    with encrypted_bucket(sandbox, KMSMasterKeyID=key["Arn"]):
        yield


@fault("log-key-disabled", turns_red=["kms-keys-usable"])
def log_key_disabled(sandbox: Sandbox) -> Iterator[None]:
    """Somebody disabled the key that encrypts the API's log group: no line is written or read."""
    kms, region = sandbox.aws("kms"), required(sandbox.environment.aws).region
    group, key = sandbox.environment.services["api"].log_group, kms.create_key(Description="logs")["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    undo = sandbox.aws_overlay("log-key", region=region, name=group, kms_key_id=key["Arn"])
    yield
    sandbox.aws_overlay("log-key", **undo)
