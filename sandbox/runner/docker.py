"""`docker` for the steps of a workflow on a machine without Docker: build, login and push, as far as ECR can tell.

An image is one layer: the files of the folder. `docker run` does not exist; the sandbox starts the code of the commit.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from urllib.parse import quote

import boto3

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def main(arguments: list[str]) -> None:
    """Run one command; exit code 1 with a sentence for everything that it can't do."""
    match arguments:
        case ["build", "--tag", name, folder]:
            _file(name).write_text(json.dumps(_manifest(Path(folder))), encoding="utf-8")
        case ["login", "--username", _, "--password-stdin", _]:
            if not sys.stdin.read().strip():
                sys.exit("docker login: the password is empty")
        case ["push", name]:
            repository, _, tag = name.partition("/")[2].rpartition(":")
            if not _file(name).is_file():
                sys.exit(f"docker push: there is no image {name}")
            manifest = _file(name).read_text(encoding="utf-8")
            boto3.client("ecr").put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest)
        case _:
            sys.exit(f"the sandbox's docker can't do: docker {' '.join(arguments)}")


def _file(name: str) -> Path:
    return Path(os.environ["RUNNER_TEMP"]) / f"image-{quote(name, safe='')}.json"


def _manifest(folder: Path) -> dict[str, object]:
    if not (folder / "Dockerfile").is_file():
        sys.exit(f"docker build: there is no Dockerfile in {folder.resolve()}")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, arcname=str(path.relative_to(folder)))
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "size": len(packed.getvalue()),
        "digest": f"sha256:{hashlib.sha256(packed.getvalue()).hexdigest()}",
    }
    config = layer | {"mediaType": "application/vnd.oci.image.config.v1+json"}
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}


if __name__ == "__main__":
    main(sys.argv[1:])
