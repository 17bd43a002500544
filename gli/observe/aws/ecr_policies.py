"""The policies of the image repositories: which images they delete, and whom they refuse.

Source of truth: ecr GetLifecyclePolicy and GetRepositoryPolicy; Amazon ECR's user guide, "Lifecycle policy properties".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.services import Service
from gli.observe.aws.ecr import registry_image, registry_of
from gli.observe.aws.iam_statements import refuses
from gli.observe.aws.identity import caller_identity
from gli.observe.aws.policy_documents import statements_of
from gli.observe.aws.task_definitions import task_definition
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe

_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_UNTAGGED = "untagged"


class KeptImages(Observation):
    """How much of the service's images the lifecycle policy of their repository keeps."""

    repository: str
    most: int | None = None
    """The number of images that the rule about the service's tags keeps; None: it does not count images."""
    days: int | None = None
    """The number of days for which it keeps an image, whether the image runs or not; None: it counts no days."""


@probe(deadline=15)
async def kept_images(observer: Observer, service: Service) -> KeptImages:
    """What the lifecycle policy keeps of the images of the service: no other rule ends an image than the first one that
    is about its tag. One call.
    """
    repository = str(service.image)
    answer = await _policy(observer, service, repository, "get_lifecycle_policy", "LifecyclePolicyNotFoundException")
    if answer is None:
        return KeptImages(repository=repository)
    tag = (await observer.see(registry_image, service)).tag
    try:
        rules = json.loads(answer["lifecyclePolicyText"])["rules"]
        selection = rule_about(rules, tag)
        counts = {selection["countType"]: int(selection["countNumber"])} if selection else {}
    except (ValueError, KeyError, TypeError) as e:
        raise unknown("error", phrase("the lifecycle policy of {} can't be read: {}", repository, e)) from None
    return KeptImages(repository=repository, most=counts.get("imageCountMoreThan"), days=counts.get("sinceImagePushed"))


def rule_about(rules: Sequence[Mapping[str, Any]], tag: str) -> Mapping[str, Any] | None:
    """The selection of the rule that may delete images with this tag; None: no rule deletes them."""
    about = [rule for rule in sorted(rules, key=lambda rule: int(rule["rulePriority"])) if _is_about(rule, tag)]
    expiring = [rule["selection"] for rule in about[:1] if rule["action"]["type"] == "expire"]
    return expiring[0] if expiring else None


def _is_about(rule: Mapping[str, Any], tag: str) -> bool:
    """Whether a rule is about images with this tag: by a prefix, by a pattern with `*`, or about all images."""
    selection = rule["selection"]
    if selection["tagStatus"] == _UNTAGGED:
        return False
    prefixes, patterns = selection.get("tagPrefixList") or [], selection.get("tagPatternList") or []
    if selection["tagStatus"] == "any":
        return True
    return all(tag.startswith(p) for p in prefixes) and all(fnmatchcase(tag, p) for p in patterns)


@probe(deadline=15)
async def pull_denials(observer: Observer, service: Service) -> tuple[Said, ...]:
    """What the policy of the service's repository denies to the role that pulls its image. One call."""
    definition = await observer.see(task_definition, service)
    image = definition.container(service.ecs.container if service.ecs else "").image
    repository = image.partition("/")[2].partition("@")[0].partition(":")[0]
    if definition.execution_role is None or ".dkr.ecr" not in image or repository != service.image:
        return ()
    answer = await _policy(observer, service, repository, "get_repository_policy", "RepositoryPolicyNotFoundException")
    statements: Sequence[Mapping[str, Any]] = statements_of(answer["policyText"]) if answer else ()
    return tuple(
        phrase("the policy of the repository {}, which denies {}", repository, action)
        for action in _PULL
        if any(refuses(statement, action, definition.execution_role) for statement in statements)
    )


async def _policy(
    observer: Observer, service: Service, repository: str, operation: str, none: str
) -> dict[str, Any] | None:
    """A policy of a repository; None where it has none, does not exist (other checks say so), or is in the registry of
    an account that can't be asked.
    """
    where = await registry_of(observer, service)
    asked = observer.aws.account("images") or (await observer.see(caller_identity)).account
    if where and where["registryId"] != asked:
        return None
    try:
        return await observer.aws.call(observer, "ecr", operation, **where, repositoryName=repository)
    except AwsError as e:
        if e.code not in (none, "RepositoryNotFoundException"):
            raise
        return None
