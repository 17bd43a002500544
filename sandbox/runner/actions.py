"""The actions that the deploy workflows use, as far as a machine without GitHub can play them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sandbox.processes import SOURCE

if TYPE_CHECKING:
    from sandbox.runner.run import Run

Inputs = Mapping[str, str]
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class StepFailed(Exception):
    """A step failed. Holds one sentence."""


def play(run: Run, uses: str, given: Inputs) -> None:
    """Play an action. Raises `StepFailed` if it fails, or is not known here."""
    name = uses.partition("@")[0]
    if name not in _ACTIONS:
        raise StepFailed(f"the sandbox's runner does not know the action {name}")
    _ACTIONS[name](run, given)


def _checkout(run: Run, given: Inputs) -> None:
    """The pushed commit; or the suite, which is this project, not the commit of the sandbox's small root repository."""
    if given.get("repository"):
        (run.workspace / given["path"]).symlink_to(SOURCE)
    else:
        run.check_out()


def _nothing(_: Run, __: Inputs) -> None:
    """Python and Node.js are those of this machine."""


def _credentials(run: Run, given: Inputs) -> None:
    if not given.get("role-to-assume"):
        raise StepFailed("the action got no role-to-assume")
    region = given["aws-region"]
    run.environment.update(run.credentials, AWS_REGION=region, AWS_DEFAULT_REGION=region)


def _upload(run: Run, given: Inputs) -> None:
    found = run.workspace / given["path"]
    if not found.is_dir():
        raise StepFailed(f"there is no {given['path']} to upload")
    shutil.copytree(found, run.temp / f"artifact-{given['name']}")


def _download(run: Run, given: Inputs) -> None:
    shutil.copytree(run.temp / f"artifact-{given['name']}", run.workspace / given["path"])


def _attest(_: Run, given: Inputs) -> None:
    """Nothing is signed here; the subject must be one that could be."""
    if not given.get("subject-name") or not _DIGEST.fullmatch(given.get("subject-digest", "")):
        raise StepFailed(f"there is no image to attest: {dict(given)}")


_ACTIONS: Mapping[str, Callable[[Run, Inputs], None]] = {
    "actions/checkout": _checkout,
    "actions/setup-python": _nothing,
    "actions/setup-node": _nothing,
    "actions/upload-artifact": _upload,
    "actions/download-artifact": _download,
    "actions/attest": _attest,
    "aws-actions/configure-aws-credentials": _credentials,
}
