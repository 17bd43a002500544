"""Image indexes in the registry, as BuildKit pushes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from gli.config.services import Service
from sandbox.handle import Sandbox
from sandbox.site import required

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


@contextmanager
def as_an_index(sandbox: Sandbox, service: Service) -> Iterator[list[dict[str, Any]]]:
    """Push the image of the branch's head as an index, and restart the tasks, which then run the index's digest.

    Yields the index's entries.
    """
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
    start_again(sandbox, service)
    try:
        yield platforms
    finally:
        ecr.batch_delete_image(**wanted)
        digests = [{"imageDigest": p["digest"]} for p in platforms]
        ecr.batch_delete_image(repositoryName=repository, imageIds=digests)
        ecr.put_image(repositoryName=repository, imageManifest=before, imageTag=tag)
        start_again(sandbox, service)


def _entry(ecr: Any, repository: str, like: str, architecture: str) -> dict[str, Any]:
    """Push an untagged image for one architecture; returns its entry in an index. `unknown`: an attestation.

    Each architecture has layers of its own; moto derives an image's digest from them.
    """
    manifest = json.loads(like)
    for layer in manifest["layers"]:
        layer["digest"] = "sha256:" + sha256(f"{architecture} {layer['digest']}".encode()).hexdigest()
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


def start_again(sandbox: Sandbox, service: Service) -> None:
    """Start the tasks of a service again, from its present task definition."""
    ecs, where = sandbox.aws("ecs"), required(service.ecs)
    now = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]["taskDefinition"]
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=now)
