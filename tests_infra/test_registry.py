"""ECR: the image to ship, what its scan found, and the images to go back to."""

from collections.abc import Mapping

from gli.common.sentences import listed, phrase, saw
from gli.config.environments import Environment, Service
from gli.observe.aws.ecr import RegistryImage, RegistryRepository, Scan


def test_ecr_image_exists(registry_image: RegistryImage) -> None:
    """The image of the branch's head is in the registry."""
    assert registry_image.digest is not None, saw(
        registry_image.failure, expected=phrase("{}:{} in ECR", registry_image.repository, registry_image.tag)
    )


def test_ecr_repo_settings(
    registry_repositories: Mapping[str, RegistryRepository], registry_image: RegistryImage, target: Service
) -> None:
    """A tag stands for one image for ever, each image is scanned, and those of the last releases are kept."""
    repository = registry_repositories[str(target.image)]
    assert repository.exists, saw(phrase("none"), expected=phrase("the repository {} in ECR", repository.name))
    assert str(repository.mutability).startswith("IMMUTABLE"), saw(
        repository.mutability, expected=phrase("tags of {} IMMUTABLE", repository.name)
    )
    assert repository.scans_on_push, saw(
        phrase("no scan on push"), expected=phrase("{} to scan what is pushed", repository.name)
    )
    assert not registry_image.without_way_back, saw(
        phrase("none for {}", listed(registry_image.without_way_back)),
        expected=phrase("an image in {} for each of the last releases", repository.name),
    )


def test_ecr_scan(image_scan: Scan, environment: Environment) -> None:
    """The scan of the image to ship is done, and found no more than is allowed."""
    image = phrase("{}:{}", image_scan.repository, image_scan.tag[:12])
    assert image_scan.status in ("COMPLETE", "ACTIVE"), saw(
        image_scan.status, expected=phrase("the scan of {} complete", image)
    )
    limits = {"CRITICAL": environment.registry.most_critical, "HIGH": environment.registry.most_high}
    found = {severity: image_scan.counts.get(severity, 0) for severity in limits}
    assert all(found[severity] <= limits[severity] for severity in limits), saw(
        listed(phrase("{} {}", n, severity) for severity, n in found.items()),
        expected=phrase(
            "at most {} in {}", listed(phrase("{} {}", n, severity) for severity, n in limits.items()), image
        ),
    )
