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
from gli.observe.engine.observation import Observation, one_of, unknown
from gli.observe.engine.probe import Observer, probe

_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_UNTAGGED = "untagged"
_ENDS = frozenset({"expire", "transition"})
"""What a rule does with images: it deletes them, or archives them, and nobody can pull an archived image."""
_DAYS = ("sinceImagePushed", "sinceImagePulled")
_COUNTS = frozenset({"imageCountMoreThan", *_DAYS})


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
        return kept_by(rule_about(rules, tag), repository)
    except (ValueError, KeyError, TypeError) as e:
        raise unknown("error", phrase("the lifecycle policy of {} can't be read: {}", repository, e)) from None


def kept_by(selection: Mapping[str, Any] | None, repository: str) -> KeptImages:
    """What a rule with this selection keeps; everything without a rule."""
    if selection is None:
        return KeptImages(repository=repository)
    kind, count = selection["countType"], int(selection["countNumber"])
    one_of(_COUNTS, kind, phrase("what the lifecycle policy of {} counts", repository))
    return KeptImages(repository=repository, **{"days" if kind in _DAYS else "most": count})


def rule_about(rules: Sequence[Mapping[str, Any]], tag: str) -> Mapping[str, Any] | None:
    """The selection of the rule that may delete or archive images with this tag; None: no rule does."""
    about = [rule for rule in sorted(rules, key=lambda rule: int(rule["rulePriority"])) if _is_about(rule, tag)]
    if not about:
        return None
    one_of(_ENDS, about[0]["action"]["type"], phrase("what the rule {} does", about[0]["rulePriority"]))
    selection: Mapping[str, Any] = about[0]["selection"]
    return selection


def _is_about(rule: Mapping[str, Any], tag: str) -> bool:
    """Whether a rule is about images with this tag: by a prefix, by a pattern with `*`, or about all images."""
    selection = rule["selection"]
    if selection["tagStatus"] == _UNTAGGED or selection.get("storageClass", "standard") != "standard":
        return False
    prefixes, patterns = selection.get("tagPrefixList") or [], selection.get("tagPatternList") or []
    if selection["tagStatus"] == "any":
        return True
    return all(tag.startswith(p) for p in prefixes) and all(fnmatchcase(tag, p) for p in patterns)


@probe(deadline=15)
async def pull_denials(observer: Observer, service: Service) -> tuple[Said, ...]:
    """What the policy of the service's repository denies to the role that pulls its image. One call."""
    definition = await observer.see(task_definition, service)
    container = definition.container(service.ecs.container if service.ecs else "")
    repository = container.image.partition("/")[2].partition("@")[0].partition(":")[0]
    if definition.execution_role is None or container.registry is None or repository != service.image:
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
