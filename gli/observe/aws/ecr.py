"""ECR: which build runs, whether the registry has it, what its scan found, and whether there is a way back.

Source of truth: ecr BatchGetImage, DescribeRepositories, DescribeImageScanFindings; the tags of the repository that the
image is built from.
"""

from __future__ import annotations

import json
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.environments import Service
from gli.observe.aws.task_definitions import task_definition
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.git_refs import deploy_tags, heads, release


class RunningImage(Observation):
    """The image that the PRIMARY deployment's task definition names."""

    image: str
    expected_tag: str
    """The commit at the head of the environment's branch."""

    @property
    def tag(self) -> str:
        return self.image.rpartition(":")[2] if ":" in self.image.rpartition("/")[2] else ""


class RegistryImage(Observation):
    """Whether the registry has an image for a tag, and those that a rollback would need."""

    repository: str
    tag: str
    digest: str | None
    platform_digests: tuple[str, ...] = ()
    """What the digest stands for where it is an index of images for several platforms."""
    failure: Said | None = None
    without_way_back: tuple[str, ...] = ()
    """Of the last releases, those whose image is gone: deploy tags, newest first."""

    @property
    def digests(self) -> tuple[str, ...]:
        """Every digest under which a task may run the image."""
        return (self.digest, *self.platform_digests) if self.digest else ()


class RegistryRepository(Observation):
    """The settings of an image repository."""

    name: str
    exists: bool
    mutability: str | None = None
    """`IMMUTABLE`, `MUTABLE`, or either with exclusions."""
    scans_on_push: bool = False


class Scan(Observation):
    """What the scan of the expected image found, by severity."""

    repository: str
    tag: str
    status: str
    counts: dict[str, int]


@probe(deadline=15)
async def running_image(observer: Observer, service: Service) -> RunningImage:
    """The image that the PRIMARY deployment runs, beside the commit that it should be built from."""
    definition = await observer.see(task_definition, service)
    container = definition.container(service.ecs.container if service.ecs else "")
    expected = await observer.see(release)
    return RunningImage(image=container.image, expected_tag=expected.commit_of(service.repository))


@probe(deadline=15)
async def registry_image(observer: Observer, service: Service) -> RegistryImage:
    """The image for the head of the environment's branch and those of the last deploy tags, in one call."""
    repository = str(service.image)
    tag = (await observer.see(release)).commit_of(service.repository)
    repository_heads = await observer.see(heads, service.repository)
    git, tags = observer.environment.git, repository_heads.tags
    newest = deploy_tags(repository_heads, git) if git else ()
    releases = newest[: observer.environment.registry.rollback_releases]
    wanted = [{"imageTag": t} for t in dict.fromkeys([tag, *(tags[r] for r in releases)])]
    answer = await observer.aws.call(observer, "ecr", "batch_get_image", repositoryName=repository, imageIds=wanted)
    images: dict[str, dict[str, Any]] = {i["imageId"].get("imageTag"): i for i in answer.get("images") or []}
    failures = {
        f["imageId"].get("imageTag"): f.get("failureCode", phrase("no image")) for f in answer.get("failures") or []
    }
    image = images.get(tag)
    return RegistryImage(
        repository=repository,
        tag=tag,
        digest=image["imageId"].get("imageDigest") if image else None,
        platform_digests=_platforms(image) if image else (),
        failure=None if image else failures.get(tag) or phrase("no image"),
        without_way_back=tuple(r for r in releases if tags[r] not in images),
    )


@probe()
async def registry_repositories(observer: Observer) -> dict[str, RegistryRepository]:
    """The repositories of every service's image, by name, in one call."""
    wanted = sorted({s.image for s in observer.environment.services.values() if s.image})
    answer = await observer.aws.call(observer, "ecr", "describe_repositories")
    found = {r["repositoryName"]: r for r in answer["repositories"]}
    return {
        name: RegistryRepository(
            name=name,
            exists=name in found,
            mutability=found.get(name, {}).get("imageTagMutability"),
            scans_on_push=bool((found.get(name, {}).get("imageScanningConfiguration") or {}).get("scanOnPush")),
        )
        for name in wanted
    }


@probe(deadline=15)
async def image_scan(observer: Observer, service: Service) -> Scan:
    """The findings for the image of the branch's head, counted; the first page holds all counts."""
    repository, tag = str(service.image), (await observer.see(release)).commit_of(service.repository)
    try:
        answer = await observer.aws.call(
            observer,
            "ecr",
            "describe_image_scan_findings",
            repositoryName=repository,
            imageId={"imageTag": tag},
            PaginationConfig={"MaxItems": 1},
        )
    except AwsError as e:
        if e.code in ("ScanNotFoundException", "ImageNotFoundException", "RepositoryNotFoundException"):
            raise unknown("not-found", phrase("ECR has no scan of {}:{} ({})", repository, tag, e.code)) from None
        raise
    return Scan(
        repository=repository,
        tag=tag,
        status=answer["imageScanStatus"]["status"],
        counts=dict((answer.get("imageScanFindings") or {}).get("findingSeverityCounts") or {}),
    )


def _platforms(image: dict[str, Any]) -> tuple[str, ...]:
    """The digests in an index (or manifest list); none where the image is a single one."""
    manifest = json.loads(image.get("imageManifest") or "{}")
    return tuple(m["digest"] for m in manifest.get("manifests") or [])
