"""ECR: the image that runs, the images that the registry has, their scans, and the images for a rollback.

The registry is that of the image which runs: the image's address names its account and its region. Source of truth: ecr
BatchGetImage, DescribeRepositories, BatchGetRepositoryScanningConfiguration, DescribeImageScanFindings; the git tags of
the repository that the image is built from.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from gli.common.sentences import Said, phrase
from gli.config.services import Service
from gli.observe.aws.identity import caller_identity
from gli.observe.aws.task_definitions import task_definition
from gli.observe.engine.aws_session import AwsError
from gli.observe.engine.observation import Observation, Unobserved, one_of, unknown
from gli.observe.engine.probe import Observer, probe
from gli.observe.release.builds import build, build_of
from gli.observe.release.git_refs import deploy_tags, heads

_FREQUENCIES = frozenset({"SCAN_ON_PUSH", "CONTINUOUS_SCAN", "MANUAL"})
_SCANNED = ("COMPLETE", "ACTIVE")
"""The states of a scan that has findings: of a basic one, of an enhanced one."""
_LEAST_OF_A_COMMIT = 7
_MOST_TAGS = 20  # of one build; BatchGetImage takes 100 for all builds
_REPOSITORIES_PER_CALL = 25  # the most that BatchGetRepositoryScanningConfiguration accepts


class RunningImage(Observation):
    """The image that the PRIMARY deployment's task definition names."""

    image: str
    expected: Said
    """The tag that it should have: that of the build of the environment's branch."""
    as_expected: bool

    @property
    def tag(self) -> str:
        """The image's tag. A digest may follow the tag (`name:tag@sha256:…`)."""
        name = self.image.partition("@")[0]
        return name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else ""


class PlatformImage(Observation):
    """One image of an index, and its platform, for example `linux` and `arm64`."""

    digest: str
    system: str
    architecture: str


class Origin(Observation):
    """What an image says of its origin, in the annotations of its manifest (OCI image specification, annotations)."""

    revision: str | None = None
    """`org.opencontainers.image.revision`: the commit that it was built from."""
    source: str | None = None
    """`org.opencontainers.image.source`: the URL of the repository."""

    def is_of(self, commits: Sequence[str]) -> bool:
        """Whether the revision, in full or its beginning, is one of these commits; true if it is not told."""
        return self.revision is None or any(
            commit.startswith(self.revision.lower()) for commit in commits if len(self.revision) >= _LEAST_OF_A_COMMIT
        )

    def comes_from(self, repository: str) -> bool:
        """Whether the source is a repository of this name; true if it is not told."""
        return self.source is None or self.source.rstrip("/").removesuffix(".git").rpartition("/")[2] == repository


class HeldImage(Observation):
    """An image that the registry has. `platforms` are those of an index, without attestations (provenance)."""

    digest: str
    platforms: tuple[PlatformImage, ...] = ()


class RegistryImage(Observation):
    """Whether the registry has the image for a tag, and the images that a rollback would need."""

    repository: str
    tag: str
    digest: str | None
    platforms: tuple[PlatformImage, ...] = ()
    """The images of the index, if `digest` is that of an index, without attestations (provenance)."""
    failure: Said | None = None
    without_way_back: tuple[str, ...] = ()
    """The deploy tags of the last releases whose image is gone, newest first."""
    origin: Origin | None = None
    """What the image says of its origin; None: it says nothing."""
    newest_release: str | None = None
    """The deploy tag of the last release; None: there was none yet."""
    pulled: HeldImage | None = None
    """The image of the task definition, which the same call asks for; None: the registry lacks it, or it is another
    one's.
    """

    @property
    def digests(self) -> tuple[str, ...]:
        """Every digest under which a task may run the image."""
        return (self.digest, *(p.digest for p in self.platforms)) if self.digest else ()


class PulledImage(Observation):
    """The image that a new task would pull, by the task definition; `found` is false if the registry lacks it."""

    image: str
    found: bool = True
    digest: str | None = None
    platforms: tuple[PlatformImage, ...] = ()
    """The images of an index; empty for a single image, whose platform the registry does not tell."""
    expired: tuple[str, ...] = ()
    """The digests that the index names and the registry no longer has."""


class RegistryRepository(Observation):
    """The settings of an image repository."""

    name: str
    exists: bool
    mutability: str | None = None
    """`IMMUTABLE`, `MUTABLE`, or either with exclusions."""
    key: str | None = None
    """The key of KMS that encrypts its images; None: S3's own encryption."""
    scans: bool = False
    """Whether pushed images are scanned, by the repository's own setting or by a rule of the registry."""


class Scan(Observation):
    """The scan of the expected image: the number of findings by severity."""

    repository: str
    tag: str
    status: str
    """COMPLETE: a basic scan has ended. ACTIVE: an enhanced scan, which is continuous. Else why there is no scan."""
    description: str | None = None
    counts: dict[str, int]

    @property
    def has_findings(self) -> bool:
        """Whether the scan is one that has ended, or that goes on: of any other, nobody knows what it finds."""
        return self.status in _SCANNED


@probe(deadline=15)
async def running_image(observer: Observer, service: Service) -> RunningImage:
    """The image that the PRIMARY deployment runs, and the commit that it should be built from."""
    definition = await observer.see(task_definition, service)
    container = definition.container(service.ecs.container if service.ecs else "")
    named = RunningImage(image=container.image, expected="", as_expected=False)
    wanted = await observer.see(build, service)
    expected, right = wanted.expected(service.tag), wanted.is_named(named.tag, service.tag)
    return named.model_copy(update={"expected": expected, "as_expected": right})


@probe(deadline=15)
async def registry_image(observer: Observer, service: Service) -> RegistryImage:
    """The image for the head of the environment's branch, those of the last deploy tags, and that of the task
    definition. One call.
    """
    repository = str(service.image)
    tags_of_build = await _tags(observer, service)
    repository_heads = await observer.see(heads, service.repository)
    git, tags = observer.environment.git, repository_heads.tags
    newest = deploy_tags(repository_heads, git) if git else ()
    releases = newest[: observer.environment.registry.rollback_releases]
    released = {r: _few((await build_of(observer, service, tags[r])).spelt(service.tag)) for r in releases}
    wanted = [{"imageTag": t} for t in dict.fromkeys([*tags_of_build, *chain(*released.values())])]
    pulled = await _pulled(observer, service)
    wanted += [pulled] if pulled and pulled not in wanted else []
    try:
        answer = await observer.aws.call(
            observer,
            "ecr",
            "batch_get_image",
            **await registry_of(observer, service),
            repositoryName=repository,
            imageIds=wanted,
        )
    except AwsError as e:
        if e.code != "RepositoryNotFoundException":
            raise
        where = observer.aws.elsewhere("images")
        raise unknown("not-found", phrase("ECR has no repository {} ({})", repository, where)) from None
    images: dict[str, dict[str, Any]] = {i["imageId"].get("imageTag"): i for i in answer["images"]}
    failures = {
        f["imageId"].get("imageTag"): f.get("failureCode", phrase("no image")) for f in answer.get("failures") or []
    }
    tag = next((t for t in tags_of_build if t in images), tags_of_build[-1])
    image = images.get(tag)
    return RegistryImage(
        repository=repository,
        tag=tag,
        digest=image["imageId"]["imageDigest"] if image else None,
        platforms=_platforms(image) if image else (),
        origin=_origin(image) if image else None,
        failure=None if image else failures.get(tag) or phrase("no image"),
        without_way_back=tuple(r for r in releases if not images.keys() & {*released[r]}),
        newest_release=next(iter(releases), None),
        pulled=_held(answer["images"], pulled),
    )


async def _pulled(observer: Observer, service: Service) -> dict[str, str] | None:
    """The id of the image that the task definition names; None if that is in another repository, or not known."""
    try:
        definition = await observer.see(task_definition, service)
        container = definition.container(service.ecs.container if service.ecs else "")
    except Unobserved:  # the checks of the service report the reason
        return None
    repository, id_ = _named(container.image)
    return id_ if container.registry and repository == service.image else None


def _held(images: Sequence[dict[str, Any]], id_: Mapping[str, str] | None) -> HeldImage | None:
    """The image with this id, if it is among these."""
    found = next((i for i in images if id_ and id_.items() <= i["imageId"].items()), None)
    return HeldImage(digest=found["imageId"]["imageDigest"], platforms=_platforms(found)) if found else None


async def _tags(observer: Observer, service: Service) -> tuple[str, ...]:
    """The tags that the image of the build may have; of several, that of the image that runs first."""
    wanted = await observer.see(build, service)
    tags = wanted.spelt(service.tag)
    if len(tags) == 1 or not service.ecs:
        return _few(tags)
    try:
        running = (await observer.see(running_image, service)).tag
    except Unobserved:  # the checks of the service report the reason
        running = tags[0]
    return (*([running] if wanted.is_named(running, service.tag) else []), *_few(tags))


def _few(tags: Sequence[str]) -> tuple[str, ...]:
    """The newest tags of one build, and the last: it is that of the commit that was built for certain."""
    return (*tags[:_MOST_TAGS], *tags[_MOST_TAGS:][-1:])


async def registry_of(observer: Observer, service: Service) -> dict[str, Any]:
    """The parameters of a call to the registry of the image that runs; empty, the asked account's, if none is known."""
    try:
        named = (await observer.see(task_definition, service)).container(service.ecs.container if service.ecs else "")
    except Unobserved:  # the checks of the service report the reason
        return {}
    return {"registryId": named.registry[0], "region": named.registry[1]} if named.registry else {}


@probe(deadline=15)
async def pulled_image(observer: Observer, service: Service) -> PulledImage | None:
    """The image that a new task would pull; None if it comes from another registry than the account's ECR.

    One call for an index: a lifecycle policy may delete the images of an index that is still there. One more if the
    image of the build, which is asked for in the same call as this one, is not known.
    """
    definition = await observer.see(task_definition, service)
    image = definition.container(service.ecs.container if service.ecs else "").image
    repository, where = str(service.image), await registry_of(observer, service)
    wanted = await _pulled(observer, service)
    if wanted is None:
        return None
    try:
        found = (await observer.see(registry_image, service)).pulled
    except Unobserved:  # of a build, for example, that git does not tell
        found = _held(await _images(observer, where, repository, [wanted]), wanted)
    if found is None:
        return PulledImage(image=image, found=False)
    parts = [{"imageDigest": p.digest} for p in found.platforms]
    there = await _images(observer, where, repository, parts) if parts else []
    expired = {p.digest for p in found.platforms} - {i["imageId"]["imageDigest"] for i in there}
    return PulledImage(image=image, digest=found.digest, platforms=found.platforms, expired=tuple(sorted(expired)))


@probe(deadline=15)
async def sidecar_images(observer: Observer, service: Service) -> dict[str, PulledImage]:
    """Container to image, for the other containers of the task whose images are in the registry of the service's own.

    One call for each of their repositories. An image of another registry is not asked for: its owner decides who may.
    """
    definition = await observer.see(task_definition, service)
    own = definition.container(service.ecs.container if service.ecs else "")
    others = [c for c in definition.containers if c is not own and c.registry and c.registry == own.registry]
    wanted = {c.name: (c.image, *_named(c.image)) for c in others}
    asked: dict[str, list[dict[str, str]]] = {}
    for _, repository, id_ in wanted.values():
        asked.setdefault(repository, []).append(id_)
    where = await registry_of(observer, service)
    answers = await asyncio.gather(*[_known(observer, where, name, ids) for name, ids in sorted(asked.items())])
    there = dict(zip(sorted(asked), answers, strict=True))
    return {
        name: PulledImage(image=image, found=any(id_.items() <= i["imageId"].items() for i in there[repository]))
        for name, (image, repository, id_) in wanted.items()
    }


def _named(image: str) -> tuple[str, dict[str, str]]:
    """The repository in ECR and the id of the image that an address names."""
    name, _, digest = image.partition("/")[2].partition("@")
    repository, _, tag = name.partition(":")
    return repository, {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}


async def _known(
    observer: Observer, where: dict[str, Any], repository: str, wanted: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Like `_images`; a repository that does not exist holds none."""
    try:
        return await _images(observer, where, repository, wanted)
    except AwsError as e:
        if e.code != "RepositoryNotFoundException":
            raise
        return []


async def _images(
    observer: Observer, where: dict[str, Any], repository: str, wanted: list[dict[str, str]]
) -> list[dict[str, Any]]:
    answer = await observer.aws.call(
        observer, "ecr", "batch_get_image", **where, repositoryName=repository, imageIds=wanted
    )
    return list(answer["images"])


@probe()
async def registry_repositories(observer: Observer) -> dict[str, RegistryRepository]:
    """Name to ECR repository, for every image. One call for each registry, and one for each 25 repositories."""
    services = [s for s in observer.environment.services.values() if s.image]
    wanted: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for service, registry in zip(
        services, await asyncio.gather(*[registry_of(observer, s) for s in services]), strict=True
    ):
        wanted.setdefault(tuple(sorted(registry.items())), set()).add(str(service.image))
    found = await asyncio.gather(
        *[_repositories(observer, dict(registry), sorted(names)) for registry, names in sorted(wanted.items())]
    )
    return {name: repository for each in found for name, repository in each.items()}


async def _repositories(
    observer: Observer, registry: Mapping[str, Any], names: list[str]
) -> dict[str, RegistryRepository]:
    """Name to repository of one registry."""
    answer = await observer.aws.call(observer, "ecr", "describe_repositories", **registry)
    found = {r["repositoryName"]: r for r in answer["repositories"]}
    scanned = await _scanned(observer, registry, [name for name in names if name in found])
    return {
        name: RegistryRepository(
            name=name,
            exists=name in found,
            mutability=found.get(name, {}).get("imageTagMutability"),
            key=(found.get(name, {}).get("encryptionConfiguration") or {}).get("kmsKey"),
            scans=name in scanned,
        )
        for name in names
    }


async def _scanned(observer: Observer, registry: Mapping[str, Any], names: list[str]) -> set[str]:
    """The repositories whose images are scanned. A repository's `scanOnPush` does not show the registry's rules."""
    asked = (observer.aws.account("images") or (await observer.see(caller_identity)).account) if registry else ""
    if asked != registry.get("registryId", ""):  # the settings of another account's registry can't be asked for
        where = observer.aws.elsewhere("images")
        raise unknown(
            "vantage", phrase("the images are in the registry of account {} ({})", registry["registryId"], where)
        )
    region = registry.get("region")
    scanned: set[str] = set()
    for n in range(0, len(names), _REPOSITORIES_PER_CALL):
        answer = await observer.aws.call(
            observer,
            "ecr",
            "batch_get_repository_scanning_configuration",
            region=region,
            repositoryNames=names[n : n + _REPOSITORIES_PER_CALL],
        )
        for each in answer["scanningConfigurations"]:
            name, frequency = each["repositoryName"], each.get("scanFrequency") or "MANUAL"
            one_of(_FREQUENCIES, frequency, phrase("how often {} is scanned", name))
            if each.get("scanOnPush") or frequency != "MANUAL":
                scanned.add(name)
    return scanned


@probe(deadline=15)
async def image_scan(observer: Observer, service: Service) -> Scan:
    """The number of findings for the image of the branch's head, by severity.

    If the image is an index, the findings are those of the image for the CPU of the service's tasks: a basic scan
    does not accept an index.
    """
    image = await observer.see(registry_image, service)
    id_ = {"imageTag": image.tag}
    if image.platforms:
        id_ = {"imageDigest": await _platform(observer, service, image)}
    elif image.digest is None:
        raise unknown("not-found", phrase("ECR has no image {}:{} to scan", image.repository, image.tag))
    answer = await _findings(observer, image, {**await registry_of(observer, service), "imageId": id_})
    status = answer.get("imageScanStatus") or {}
    return Scan(
        repository=image.repository,
        tag=image.tag,
        status=status.get("status") or "none",
        description=status.get("description"),
        counts=dict(answer["imageScanFindings"]["findingSeverityCounts"]) if status.get("status") in _SCANNED else {},
    )


async def _platform(observer: Observer, service: Service, image: RegistryImage) -> str:
    """The digest of the index's image for the platform of the service's tasks."""
    wanted = (await observer.see(task_definition, service)).architecture
    name = {"X86_64": "amd64", "ARM64": "arm64"}.get(wanted, wanted)
    for platform in image.platforms:
        if (platform.system, platform.architecture) == ("linux", name):
            return platform.digest
    raise unknown("not-found", phrase("the index {}:{} holds no image for linux/{}", image.repository, image.tag, name))


async def _findings(observer: Observer, image: RegistryImage, asked: dict[str, Any]) -> dict[str, Any]:
    """Fetches only the first page: it holds all counts."""
    try:
        return await observer.aws.call(
            observer,
            "ecr",
            "describe_image_scan_findings",
            **asked,
            repositoryName=image.repository,
            PaginationConfig={"MaxItems": 1},
        )
    except AwsError as e:
        if e.code in ("ScanNotFoundException", "ImageNotFoundException", "RepositoryNotFoundException"):
            raise unknown(
                "not-found", phrase("ECR has no scan of {}:{} ({})", image.repository, image.tag, e.code)
            ) from None
        raise


def _origin(image: dict[str, Any]) -> Origin | None:
    told = _manifest(image).get("annotations") or {}
    revision, source = (told.get(f"org.opencontainers.image.{name}") or None for name in ("revision", "source"))
    return Origin(revision=revision, source=source) if revision or source else None


def _manifest(image: dict[str, Any]) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(image["imageManifest"])
    except ValueError:
        raise unknown("error", phrase("ECR's manifest of {} is no JSON", image["imageId"]["imageDigest"])) from None
    return manifest


def _platforms(image: dict[str, Any]) -> tuple[PlatformImage, ...]:
    """The images in an index (or manifest list); empty for a single image.

    Attestations, which BuildKit adds, are left out: they can't run, and their platform is `unknown`.
    """
    listed = [(m["digest"], m.get("platform") or {}) for m in _manifest(image).get("manifests") or []]
    return tuple(
        PlatformImage(digest=digest, system=p.get("os", "linux"), architecture=p.get("architecture", "unknown"))
        for digest, p in listed
        if p.get("os") != "unknown"
    )
