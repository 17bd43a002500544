"""Faults of the images in ECR."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sandbox.aws import images
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import api_service, aws_region
from sandbox.site import required


@fault("image-missing", turns_red=["ecr-image-exists"])
def image_missing(sandbox: Sandbox) -> Iterator[None]:
    """The image that the API should run is missing in the registry."""
    api, ecr = api_service(sandbox), sandbox.aws("ecr")
    tag = sandbox.site.revision(sandbox.environment, api.repository)
    wanted = {"repositoryName": required(api.image), "imageIds": [{"imageTag": tag}]}
    image = ecr.batch_get_image(**wanted)["images"][0]
    ecr.batch_delete_image(**wanted)
    yield
    ecr.put_image(repositoryName=required(api.image), imageManifest=image["imageManifest"], imageTag=tag)


@fault("registry-tags-mutable", turns_red=["ecr-repo-settings"])
def registry_tags_mutable(sandbox: Sandbox) -> Iterator[None]:
    """Tags of the API's images are mutable: a push can replace the image of a tag."""
    ecr, name = sandbox.aws("ecr"), required(api_service(sandbox).image)
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    yield
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="IMMUTABLE")


@fault("rollback-image-gone", turns_red=["ecr-images-kept", "ecr-repo-settings"])
def rollback_image_gone(sandbox: Sandbox) -> Iterator[None]:
    """A lifecycle policy expired the image of the release that production runs."""
    api, ecr = api_service(sandbox), sandbox.aws("ecr")
    tag = sandbox.site.revision(sandbox.site.production, api.repository)
    wanted = {"repositoryName": required(api.image), "imageIds": [{"imageTag": tag}]}
    image = ecr.batch_get_image(**wanted)["images"][0]
    ecr.batch_delete_image(**wanted)
    yield
    ecr.put_image(repositoryName=required(api.image), imageManifest=image["imageManifest"], imageTag=tag)


@fault("image-with-holes", turns_red=["ecr-scan"])
def image_with_holes(sandbox: Sandbox) -> Iterator[None]:
    """The scan of the API's image found critical vulnerabilities."""
    counts = {"CRITICAL": 2, "HIGH": 3}
    place = {"region": aws_region(sandbox), "repository": required(api_service(sandbox).image)}
    undo = sandbox.aws_overlay("scan-findings", **place, counts=counts)
    yield
    sandbox.aws_overlay("scan-findings", **undo)


def _keep(sandbox: Sandbox, **selection: object) -> Iterator[None]:
    """Give the API's repository a lifecycle policy with one rule."""
    ecr, name = sandbox.aws("ecr"), required(api_service(sandbox).image)
    rule = {"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}
    ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=json.dumps({"rules": [rule]}))
    yield
    ecr.delete_lifecycle_policy(repositoryName=name)


@fault("image-kept-alone", turns_red=["ecr-images-kept"])
def image_kept_alone(sandbox: Sandbox) -> Iterator[None]:
    """The lifecycle policy of the API's images keeps the newest one alone: the next push deletes what runs."""
    yield from _keep(sandbox, tagStatus="any", countType="imageCountMoreThan", countNumber=1)


@fault("image-deleted-by-age", turns_red=["ecr-images-kept"])
def image_deleted_by_age(sandbox: Sandbox) -> Iterator[None]:
    """The lifecycle policy of the API's images deletes each one after two days, also the one that runs."""
    age = {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 2}
    yield from _keep(sandbox, tagStatus="any", **age)


def _told(sandbox: Sandbox, **told: str) -> Iterator[None]:
    """Push the API's image again, with other annotations of its origin, and restart the tasks."""
    api, ecr = api_service(sandbox), sandbox.aws("ecr")
    tag, repository = sandbox.site.revision(sandbox.environment, api.repository), required(api.image)
    wanted = {"repositoryName": repository, "imageIds": [{"imageTag": tag}]}
    before = ecr.batch_get_image(**wanted)["images"][0]["imageManifest"]
    annotations = {f"org.opencontainers.image.{name}": value for name, value in told.items()}
    manifest = {**json.loads(before), "annotations": {**json.loads(before)["annotations"], **annotations}}
    for pushed in (json.dumps(manifest), before):
        ecr.batch_delete_image(**wanted)
        ecr.put_image(repositoryName=repository, imageManifest=pushed, imageTag=tag)
        images.start_again(sandbox, api)
        if pushed != before:
            yield


@fault("image-of-another-commit", turns_red=["image-provenance"])
def image_of_another_commit(sandbox: Sandbox) -> Iterator[None]:
    """Somebody built the API's image by hand, from a commit of their own, and gave it the tag of the head."""
    yield from _told(sandbox, revision="5c9c1a8f0e3b4d6a7f8091a2b3c4d5e6f7081920")


@fault("image-of-a-fork", turns_red=["image-provenance"])
def image_of_a_fork(sandbox: Sandbox) -> Iterator[None]:
    """The API's image was built in another repository."""
    yield from _told(sandbox, source="https://github.com/somebody/api-experiments")
