"""The AWS account that is provisioned: the identity of the caller, its stacks, and what runs in it now.

Source of truth: cloudformation, sts GetCallerIdentity, ecs DescribeServices and DescribeTaskDefinition. Credentials
come from the usual chain (AWS_PROFILE, a role of CI), not from `aws.profile`: that profile may only read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gli.common.errors import UsageError
from gli.config.environments import Environment
from gli.config.services import Service
from gli.provision.changes import Change, of_change_set
from gli.provision.stacks import Stack

CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
_NOTHING = ("didn't contain changes", "No updates are to be performed")
_GONE = ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0


class ProvisionError(Exception):
    """AWS refused, or something failed there: one sentence. `exit_code` is 1, or 3 where nothing is known."""

    def __init__(self, sentence: str, *, known: bool = True) -> None:
        super().__init__(sentence)
        self.exit_code = 1 if known else 3


class Account:
    """One account for one environment. Its first call asks for the caller's identity."""

    def __init__(self, environment: Environment, profile: str | None = None) -> None:
        """`profile`: of the AWS configuration; default: the usual chain.

        Raises `UsageError` if the environment has no account, or if the credentials belong to another account.
        """
        import boto3
        from botocore.exceptions import ProfileNotFound

        aws = environment.aws
        if aws is None or aws.account_id is None:
            raise UsageError(f"environments.toml: [{environment.name}.aws] account_id is missing; write its 12 digits")
        self.environment, self.region = environment, aws.region
        self._endpoint, self._clients = aws.endpoint_url, dict[tuple[str, str], Any]()
        try:
            self._session = boto3.Session(profile_name=profile)
        except ProfileNotFound:
            raise UsageError(f"the AWS configuration has no profile {profile!r}; add it, or name another") from None
        found = str(self.call("sts", "get_caller_identity")["Account"])
        if found != aws.account_id:
            source = f"let the profile {profile!r} be" if profile else "set AWS_PROFILE to"
            raise UsageError(
                f"these credentials are of the account {found}, and [{environment.name}.aws] account_id says "
                f"{aws.account_id}; {source} one of that account"
            )

    def call(
        self, service: str, operation: str, /, *, region: str | None = None, joined: bool = True, **parameters: Any
    ) -> dict[str, Any]:
        """One operation, with all its pages joined. Raises `ProvisionError` if AWS refuses the call or can't be
        reached.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            client = self._client(service, region or self.region)
            if joined and client.can_paginate(operation):
                return dict(client.get_paginator(operation).paginate(**parameters).build_full_result())
            return dict(getattr(client, operation)(**parameters))
        except ClientError as e:
            error = e.response.get("Error", {})
            raise _Refused(service, e.operation_name, error.get("Code", ""), error.get("Message", "")) from None
        except (BotoCoreError, ResponseParserError) as e:
            raise ProvisionError(f"AWS can't be asked ({service} {operation}): {e}", known=False) from None

    def upload_url(self, bucket: str, key: str, *, seconds: int) -> str:
        """A URL that writes one object of S3, once or more, for whoever has it: s3 PutObject, signed by the caller."""
        how = {"Params": {"Bucket": bucket, "Key": key}, "ExpiresIn": seconds}
        return str(self._client("s3", self.region).generate_presigned_url("put_object", **how))

    def as_role(self, arn: str) -> dict[str, str]:
        """The variables of a process's environment with which it acts as this role, for an hour."""
        found = self.call("sts", "assume_role", RoleArn=arn, RoleSessionName="gli-continue")["Credentials"]
        names = {
            "ACCESS_KEY_ID": "AccessKeyId",
            "SECRET_ACCESS_KEY": "SecretAccessKey",
            "SESSION_TOKEN": "SessionToken",
        }
        return {f"AWS_{name}": str(found[key]) for name, key in names.items()}

    def status(self, stack: Stack) -> str | None:
        """The stack's status; None where it does not exist."""
        described = self._described(stack)
        return None if described is None or described["StackStatus"] in _GONE else str(described["StackStatus"])

    def outputs(self, stack: Stack) -> dict[str, str]:
        """The stack's outputs; empty where it does not exist."""
        described = self._described(stack) or {}
        return {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])}

    def applied(self, stack: Stack) -> dict[str, str]:
        """The values of the parameters that the stack has now."""
        described = self._described(stack) or {}
        return {p["ParameterKey"]: p["ParameterValue"] for p in described.get("Parameters", [])}

    def resources(self, stack: Stack) -> list[dict[str, Any]]:
        """The resources of the stack, as `list_stack_resources` returns them."""
        answer = self._cloudformation(stack, "list_stack_resources", StackName=stack.name)
        return list(answer["StackResourceSummaries"])

    def propose(self, stack: Stack, parameters: Mapping[str, str]) -> tuple[str, tuple[Change, ...]]:
        """The name of a change set, and its changes. A change set without changes is deleted again. The stack itself
        does not change yet.
        """
        exists = self.status(stack) is not None
        name = f"gli-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        self._cloudformation(
            stack,
            "create_change_set",
            StackName=stack.name,
            ChangeSetName=name,
            ChangeSetType="UPDATE" if exists else "CREATE",
            TemplateBody=stack.template.body,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
            Capabilities=CAPABILITIES,
            Tags=self._tags(stack),
        )
        described = self._settled(stack, name)
        if described["Status"] == "FAILED":
            self.discard(stack, name)
            reason = described.get("StatusReason", "no reason given")
            if any(words in reason for words in _NOTHING):
                return name, ()
            raise ProvisionError(f"{stack.name}: CloudFormation refuses {stack.template.path.name}: {reason}")
        return name, of_change_set(described["Changes"], stack.template.resources(parameters))

    def discard(self, stack: Stack, change_set: str) -> None:
        """Delete a change set, and the empty stack that it may have created."""
        self._cloudformation(stack, "delete_change_set", StackName=stack.name, ChangeSetName=change_set)
        described = self._described(stack)
        if described is not None and described["StackStatus"] == "REVIEW_IN_PROGRESS":
            self._cloudformation(stack, "delete_stack", StackName=stack.name)

    def execute(self, stack: Stack, change_set: str) -> None:
        """Start the changes of the change set."""
        self._cloudformation(stack, "execute_change_set", StackName=stack.name, ChangeSetName=change_set)

    def protect(self, stack: Stack) -> None:
        """Switch on the stack's protection against deletion."""
        self._cloudformation(
            stack, "update_termination_protection", StackName=stack.name, EnableTerminationProtection=True
        )

    def events(self, stack: Stack, seen: Collection[str] = ()) -> list[dict[str, Any]]:
        """The newest events of the stack, oldest first, back to the events in `seen` (by id)."""
        found: list[dict[str, Any]] = []
        for page in self._pages(stack, "describe_stack_events"):
            new = [e for e in page["StackEvents"] if e["EventId"] not in seen]
            found += new
            if len(new) < len(page["StackEvents"]):
                break
        return list(reversed(found))

    def drifts(self, stack: Stack) -> list[dict[str, Any]]:
        """Let CloudFormation compare each resource with the applied template. Returns the resources that differ or are
        gone.
        """
        started = self._cloudformation(stack, "detect_stack_drift", StackName=stack.name)["StackDriftDetectionId"]

        def answer() -> dict[str, Any] | None:
            found = self._cloudformation(stack, "describe_stack_drift_detection_status", StackDriftDetectionId=started)
            return None if found["DetectionStatus"] == "DETECTION_IN_PROGRESS" else found

        ended = until(answer)
        if ended["DetectionStatus"] == "DETECTION_FAILED":
            reason = ended.get("DetectionStatusReason", "no reason given")
            raise ProvisionError(f"{stack.name}: drift can't be told: {reason}", known=False)
        pages = self._pages(stack, "describe_stack_resource_drifts")
        return [each for page in pages for each in page["StackResourceDrifts"]]

    def running(self, service: Service) -> str | None:
        """The tag of the image that the service runs; None if there is no service, or if it was never deployed.

        Raises `ProvisionError` while a deployment is under way: nobody knows yet which image will win.
        """
        assert service.ecs is not None
        cluster, name = service.ecs.cluster, service.ecs.service
        try:
            found = self.call("ecs", "describe_services", cluster=cluster, services=[name])["services"]
        except _Refused as e:
            if e.code == "ClusterNotFoundException":
                return None
            raise
        live = [s for s in found if s["status"] == "ACTIVE"]
        if not live:
            return None
        if any(d.get("rolloutState") == "IN_PROGRESS" for d in live[0].get("deployments", [])):
            raise ProvisionError(f"a deployment of {name} is under way; apply when it has ended")
        definition = self.call("ecs", "describe_task_definition", taskDefinition=live[0]["taskDefinition"])
        containers = definition["taskDefinition"]["containerDefinitions"]
        image = next(str(c["image"]) for c in containers if c["name"] == service.ecs.container)
        tag = image.rpartition("/")[2].partition("@")[0].rpartition(":")[2]
        return None if tag == "none" else tag

    def _cloudformation(
        self, stack: Stack, operation: str, *, joined: bool = True, **parameters: Any
    ) -> dict[str, Any]:
        return self.call("cloudformation", operation, region=stack.region, joined=joined, **parameters)

    def _pages(self, stack: Stack, operation: str) -> Iterator[dict[str, Any]]:
        """The pages of an answer; the next page is requested only when it is needed."""
        more: dict[str, str] = {}
        while True:
            page = self._cloudformation(stack, operation, joined=False, StackName=stack.name, **more)
            yield page
            if not page.get("NextToken"):
                return
            more = {"NextToken": page["NextToken"]}

    def _described(self, stack: Stack) -> dict[str, Any] | None:
        try:
            return dict(self._cloudformation(stack, "describe_stacks", StackName=stack.name)["Stacks"][0])
        except _Refused as e:
            if "does not exist" in str(e):
                return None
            raise

    def _settled(self, stack: Stack, change_set: str) -> dict[str, Any]:
        def answer() -> dict[str, Any] | None:
            found = self._cloudformation(
                stack, "describe_change_set", StackName=stack.name, ChangeSetName=change_set, IncludePropertyValues=True
            )
            return None if found["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS") else found

        return until(answer)

    def _tags(self, stack: Stack) -> list[dict[str, str]]:
        """The tags of the stack. CloudFormation puts them on every resource that takes tags."""
        environment = "shared" if stack.shared else self.environment.name
        tags = {"Project": "gli", "Environment": environment, "Stack": stack.name, "ManagedBy": "cloudformation"}
        return [{"Key": k, "Value": v} for k, v in tags.items()]

    def _client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        if (service, region) not in self._clients:
            config = Config(
                retries={"mode": "standard", "total_max_attempts": 5},
                user_agent_extra="gli-provision",
                signature_version="s3v4" if service == "s3" else None,  # an older one can't sign for every bucket
                proxies={} if self._endpoint else None,
            )
            self._clients[service, region] = self._session.client(
                service, region_name=region, endpoint_url=self._endpoint, config=config
            )
        return self._clients[service, region]


class _Refused(ProvisionError):
    """An error answer of AWS."""

    def __init__(self, service: str, operation: str, code: str, message: str) -> None:
        super().__init__(f"{service}:{operation} answered {code}: {message}")
        self.code = code


def until(answer: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """The first answer that is not None. The pauses between the questions grow."""
    for seconds in _waits():
        found = answer()
        if found is not None:
            return found
        time.sleep(seconds)
    raise AssertionError("the waits have no end")


def _waits() -> Iterator[float]:
    seconds = _FIRST_WAIT_S
    while True:
        yield seconds
        seconds = min(2 * seconds, _LONGEST_WAIT_S)
