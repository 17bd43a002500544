"""Set-ups of images: scanning rules of the registry, enhanced scanning, image indexes with provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from gli.config.environments import Service
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import overlaid, region

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


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


@variant("enhanced-scanning")
def enhanced_scanning(sandbox: Sandbox) -> Iterator[None]:
    """Amazon Inspector scans every image of the registry continuously: a scan stays ACTIVE and never completes."""
    with _scanned_by_the_registry(sandbox, "ENHANCED", "CONTINUOUS_SCAN"), ExitStack() as found:
        for image in _images(sandbox):
            where = {"region": region(sandbox), "repository": image}
            found.enter_context(
                overlaid(sandbox, "scan-findings", **where, counts={"MEDIUM": 2, "UNTRIAGED": 1}, status="ACTIVE")
            )
        yield


@variant("image-index-with-provenance")
def image_index_with_provenance(sandbox: Sandbox) -> Iterator[None]:
    """BuildKit pushed image indexes: an image for each CPU architecture, and a provenance attestation."""
    with ExitStack() as pushed:
        for service in sandbox.environment.services.values():
            pushed.enter_context(_as_an_index(sandbox, service))
        yield


@contextmanager
def _as_an_index(sandbox: Sandbox, service: Service) -> Iterator[None]:
    """Push the image of the branch's head as an index, and restart the tasks, which then run the index's digest."""
    ecr, repository = sandbox.aws("ecr"), required(service.image)
    tag = sandbox.site.revision(sandbox.environment, service.repository)
    wanted = {"repositoryName": repository, "imageIds": [{"imageTag": tag}]}
    before = ecr.batch_get_image(**wanted)["images"][0]["imageManifest"]
    ecr.batch_delete_image(**wanted)
    platforms = [
        _entry(ecr, repository, before, "amd64"),
        _entry(ecr, repository, before, "arm64"),
        _entry(ecr, repository, before, "unknown"),
    ]
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": platforms}
    ecr.put_image(
        repositoryName=repository, imageManifest=json.dumps(index), imageManifestMediaType=_INDEX, imageTag=tag
    )
    _start_again(sandbox, service)
    try:
        yield
    finally:
        ecr.batch_delete_image(**wanted)
        digests = [{"imageDigest": p["digest"]} for p in platforms]
        ecr.batch_delete_image(repositoryName=repository, imageIds=digests)
        ecr.put_image(repositoryName=repository, imageManifest=before, imageTag=tag)
        _start_again(sandbox, service)


def _entry(ecr: Any, repository: str, like: str, architecture: str) -> dict[str, Any]:
    """Push an untagged image for one architecture; returns its entry in an index. `unknown`: an attestation."""
    manifest = json.loads(like)
    manifest["annotations"] = {"architecture": architecture}
    pushed = ecr.put_image(
        repositoryName=repository, imageManifest=json.dumps(manifest), imageManifestMediaType=_MANIFEST
    )["image"]["imageId"]["imageDigest"]
    system = "unknown" if architecture == "unknown" else "linux"
    kind = {"vnd.docker.reference.type": "attestation-manifest"} if architecture == "unknown" else {}
    return {
        "mediaType": _MANIFEST,
        "digest": pushed,
        "size": len(json.dumps(manifest)),
        "platform": {"architecture": architecture, "os": system},
        **({"annotations": kind} if kind else {}),
    }


def _start_again(sandbox: Sandbox, service: Service) -> None:
    ecs, where = sandbox.aws("ecs"), required(service.ecs)
    now = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]["taskDefinition"]
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=now)
