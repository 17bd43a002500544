"""Set-ups of images: scanning rules of the registry, enhanced scanning, image indexes with provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sandbox.aws import images
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import overlaid, region


def _images(sandbox: Sandbox) -> list[str]:
    return [required(s.image) for s in sandbox.environment.services.values()]


@contextmanager
def _scanned_by_the_registry(sandbox: Sandbox, kind: str, frequency: str) -> Iterator[None]:
    """No repository has a scanning setting; one rule of the registry covers all."""
    ecr = sandbox.aws("ecr")
    before = ecr.get_registry_scanning_configuration()["scanningConfiguration"]
    for image in _images(sandbox):
        ecr.put_image_scanning_configuration(repositoryName=image, imageScanningConfiguration={"scanOnPush": False})
    every = [{"scanFrequency": frequency, "repositoryFilters": [{"filter": "*", "filterType": "WILDCARD"}]}]
    ecr.put_registry_scanning_configuration(scanType=kind, rules=every)
    try:
        yield
    finally:
        ecr.put_registry_scanning_configuration(scanType=before["scanType"], rules=before["rules"])
        for image in _images(sandbox):
            ecr.put_image_scanning_configuration(repositoryName=image, imageScanningConfiguration={"scanOnPush": True})


@variant("registry-scans-on-push")
def registry_scans_on_push(sandbox: Sandbox) -> Iterator[None]:
    """A rule of the registry scans every image on push; the repositories' own scanOnPush is off."""
    with _scanned_by_the_registry(sandbox, "BASIC", "SCAN_ON_PUSH"):
        yield


@variant("enhanced-scanning", tries=["ecr-scan"])
def enhanced_scanning(sandbox: Sandbox) -> Iterator[None]:
    """Amazon Inspector scans every image of the registry continuously: a scan stays ACTIVE and never completes."""
    with _scanned_by_the_registry(sandbox, "ENHANCED", "CONTINUOUS_SCAN"), ExitStack() as found:
        for image in _images(sandbox):
            where = {"region": region(sandbox), "repository": image}
            found.enter_context(
                overlaid(sandbox, "scan-findings", **where, counts={"MEDIUM": 2, "UNTRIAGED": 1}, status="ACTIVE")
            )
        yield


@variant("image-index-with-provenance", tries=["ecr-image-exists", "ecs-task-digest", "image-provenance"])
def image_index_with_provenance(sandbox: Sandbox) -> Iterator[None]:
    """BuildKit pushed image indexes: an image for each CPU architecture, and a provenance attestation."""
    with ExitStack() as pushed:
        for service in sandbox.environment.services.values():
            pushed.enter_context(images.as_an_index(sandbox, service))
        yield


@variant("images-kept-by-rules", tries=["ecr-images-kept"])
def images_kept_by_rules(sandbox: Sandbox) -> Iterator[None]:
    """Lifecycle policies delete images without a tag after a day, and all but the newest 30 others; the policy of each
    repository denies strangers to delete images."""
    ecr, untagged = sandbox.aws("ecr"), {"tagStatus": "untagged", "countType": "sinceImagePushed"}
    selections = [
        {**untagged, "countUnit": "days", "countNumber": 1},
        {"tagStatus": "tagged", "tagPrefixList": ["review-"], "countType": "imageCountMoreThan", "countNumber": 1},
        {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 30},
    ]
    expire = {"type": "expire"}
    rules = [{"rulePriority": n, "selection": s, "action": expire} for n, s in enumerate(selections, start=1)]
    everybody = {"Effect": "Deny", "Principal": "*", "Action": "ecr:BatchDeleteImage"}
    for image in _images(sandbox):
        ecr.put_lifecycle_policy(repositoryName=image, lifecyclePolicyText=json.dumps({"rules": rules}))
        policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
        ecr.set_repository_policy(repositoryName=image, policyText=policy)
    yield
    for image in _images(sandbox):
        ecr.delete_lifecycle_policy(repositoryName=image)
        ecr.delete_repository_policy(repositoryName=image)


@variant("tags-that-may-move", tries=["ecr-repo-settings"])
def tags_that_may_move(sandbox: Sandbox) -> Iterator[None]:
    """Tags of the repositories are immutable, but for `latest` and those of caches."""
    ecr = sandbox.aws("ecr")
    with ExitStack() as changed:
        for image in _images(sandbox):
            ecr.put_image_tag_mutability(repositoryName=image, imageTagMutability="IMMUTABLE_WITH_EXCLUSION")
            undo = {"repositoryName": image, "imageTagMutability": "IMMUTABLE"}
            changed.callback(ecr.put_image_tag_mutability, **undo)
        yield
