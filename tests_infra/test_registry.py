"""ECR: the image to ship, what its scan found, and the images to go back to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw
from gli.observe.engine.observation import one_of, told, unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.services import Service
    from gli.observe.aws.ecr import RegistryImage, RegistryRepository, Scan
    from gli.observe.aws.ecr_policies import KeptImages
    from gli.observe.release.builds import Build

LEAST_DAYS = 7
_MUTABILITY = frozenset({"IMMUTABLE", "MUTABLE", "IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION"})
_NOT_SCANNED = (
    *("FAILED", "UNSUPPORTED_IMAGE", "SCAN_ELIGIBILITY_EXPIRED", "FINDINGS_UNAVAILABLE", "LIMIT_EXCEEDED"),
    *("IMAGE_ARCHIVED", "IMAGE_SIZE_EXCEEDED"),
)


def test_ecr_image_exists(registry_image: RegistryImage) -> None:
    """The image of the branch's head is in the registry."""
    assert registry_image.digest is not None, saw(
        registry_image.failure, expected=phrase("{}:{} in ECR", registry_image.repository, registry_image.tag)
    )


def test_ecr_repo_settings(
    registry_repositories: Mapping[str, RegistryRepository], registry_image: RegistryImage, target: Service
) -> None:
    """A tag always means the same image, each image is scanned, and the images of the last releases are kept."""
    repository = registry_repositories[str(target.image)]
    assert repository.exists, saw(phrase("none"), expected=phrase("the repository {} in ECR", repository.name))
    what = phrase("the tag mutability of {}", repository.name)
    mutability = one_of(_MUTABILITY, told(repository.mutability, what), what)
    assert mutability.startswith("IMMUTABLE"), saw(mutability, expected=phrase("tags of {} IMMUTABLE", repository.name))
    assert repository.scans, saw(
        phrase("no scan on push"), expected=phrase("{} to scan what is pushed", repository.name)
    )
    assert not registry_image.without_way_back, saw(
        phrase("none for {}", listed(registry_image.without_way_back)),
        expected=phrase("an image in {} for each of the last releases", repository.name),
    )


def test_ecr_images_kept(kept_images: KeptImages, registry_image: RegistryImage, environment: Environment) -> None:
    """The image of the last release is there, and no lifecycle policy deletes or archives it while it runs, or those of
    the last releases before it.
    """
    last, name = registry_image.newest_release, kept_images.repository
    assert last not in registry_image.without_way_back, saw(
        phrase("none for {}", last), expected=phrase("the image of the last release in {}", name)
    )
    needed = environment.registry.rollback_releases + 1
    assert kept_images.most is None or kept_images.most >= needed, saw(
        phrase("at most {} images kept", kept_images.most),
        expected=phrase("{} to keep {} images or more: those of the last releases, and a new one", name, needed),
    )
    assert kept_images.days is None or kept_images.days >= LEAST_DAYS, saw(
        phrase("images gone after {} days, also the one that runs", kept_images.days),
        expected=phrase("{} to keep images for {} days or more", name, LEAST_DAYS),
    )


def test_image_provenance(registry_image: RegistryImage, build: Build, target: Service) -> None:
    """The image to ship was built from the commit and in the repository that its tag stands for, by its own words.

    An image without annotations of its origin is not judged.
    """
    origin, name = registry_image.origin, phrase("{}:{}", registry_image.repository, registry_image.tag[:12])
    if origin is None:
        return
    assert origin.is_of(build.commits), saw(
        phrase("revision {}", origin.revision), expected=phrase("{} to be built from {}", name, build.commits[0])
    )
    assert origin.comes_from(target.repository), saw(
        phrase("source {}", origin.source), expected=phrase("{} to be built in {}", name, target.repository)
    )


def test_ecr_scan(image_scan: Scan, environment: Environment) -> None:
    """The scan of the image to ship is complete, and found no more than the environment allows."""
    image, status = phrase("{}:{}", image_scan.repository, image_scan.tag[:12]), image_scan.status
    if not image_scan.has_findings and status not in _NOT_SCANNED:
        raise unknown("too-little-data", phrase("the scan of {} is {}: what it finds is not known yet", image, status))
    assert image_scan.has_findings, saw(
        phrase("{}: {}", status, image_scan.description or phrase("no reason given")),
        expected=phrase("the scan of {} complete", image),
    )
    limits = {"CRITICAL": environment.registry.most_critical, "HIGH": environment.registry.most_high}
    found = {severity: image_scan.counts.get(severity, 0) for severity in limits}
    assert all(found[severity] <= limits[severity] for severity in limits), saw(
        listed(phrase("{} {}", n, severity) for severity, n in found.items()),
        expected=phrase(
            "at most {} in {}", listed(phrase("{} {}", n, severity) for severity, n in limits.items()), image
        ),
    )
