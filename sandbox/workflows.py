"""The GitHub Actions workflows that the repositories hold: those of `pipelines/`, and the ones that they call."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sandbox.copies import original

FILE = ".github/workflows/deploy-staging.yml"
_ROOT = Path(__file__).resolve().parent.parent
_PIPELINES = _ROOT / "pipelines"
CALLED = (".github/workflows/deploy-service.yml", ".github/workflows/deploy-frontend.yml")
"""The workflows that the others call; the root repository holds them."""
ENVIRONMENT = "${{ github.ref_name == 'main' && 'production' || 'staging' }}"


@cache
def of(repository: str) -> dict[str, str]:
    """The workflow files of a repository, {path: content}; empty if it has none."""
    if repository.endswith("_root"):
        return {path: (_ROOT / path).read_text(encoding="utf-8") for path in CALLED}
    folder = _PIPELINES / repository
    return {str(f.relative_to(folder)): f.read_text(encoding="utf-8") for f in sorted(folder.rglob("*.yml"))}


def deployed(repository: str) -> bool:
    """Whether a workflow deploys the repository."""
    return FILE in of(original(repository))


def called(repository: str) -> str:
    """The path of the workflow that a repository's workflow calls."""
    return next(path for path in CALLED if path in of(repository)[FILE])
