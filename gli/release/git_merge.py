"""The merge of two commits in a mirror, without a checkout, with the result that `git merge` has in a checkout.

Source of truth: git-merge-tree --write-tree, gitattributes "merge".
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gli.common.errors import UsageError
from gli.git.command import GitFailed, shown
from gli.release.mirror import Mirror

_BUILT_IN = {"text", "binary", "union"}
_DRIVER = re.compile(r"(?:^|\s)merge=(\S+)", re.MULTILINE)


def merge(mirror: Mirror, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
    """The tree of a merge, and the files that conflict. Raises `GitFailed` if git can't try the merge.

    The result is that of `git merge` in a checkout of `ours`: with its `.gitattributes`, and with the merge drivers
    and settings of this machine. A file whose driver is not configured here counts as a conflict: git would merge
    its lines, which the attribute forbids.
    """
    paths = [path for path in mirror.files(ours) if path.rpartition("/")[2] == ".gitattributes"]
    if outside := [path for path in paths if {"..", ".git"} & {*path.split("/")}]:
        raise GitFailed(("merge-tree",), 1, f"fatal: {ours[:8]} has {shown(outside[0])}, which git would not check out")
    with tempfile.TemporaryDirectory(prefix="attributes-", dir=mirror.folder) as folder:
        texts = [_checked_out(mirror, ours, path, Path(folder)) for path in paths]
        drivers = {name for text in texts for name in _DRIVER.findall(text)} - _BUILT_IN
        unknown = {name for name in drivers if not _is_configured(mirror, name)}
        without = _merged_by(mirror, unknown, ours, theirs, Path(folder)) if unknown else ()
        tree, conflicts = _merged(mirror, ours, theirs, Path(folder))
        return tree, (*conflicts, *without)


def _merged(mirror: Mirror, ours: str, theirs: str, checkout: Path) -> tuple[str, tuple[str, ...]]:
    options = ("--write-tree", "-z", "--name-only", "--no-messages")
    try:
        answer = _in(mirror, checkout, "merge-tree", *options, ours, theirs, accept=(0, 1))
    except GitFailed as e:
        if "usage: git merge-tree" in e.stderr:
            raise UsageError("this git can't merge without a work tree; install git 2.38 or newer") from None
        raise
    tree, *conflicts = [part for part in answer.split("\0") if part] or [""]
    if not tree:  # a bad name also ends with 1, but prints nothing
        raise GitFailed(("merge-tree", ours, theirs), 1, "printed nothing: one of the two is no commit")
    return tree, tuple(dict.fromkeys(map(shown, conflicts)))


def _in(mirror: Mirror, checkout: Path, *arguments: str, **options: Any) -> str:
    """git with a work tree in which only the attributes lie. Without one, git 2.39 can't follow merge.renormalize."""
    return mirror.git("-c", "core.bare=false", f"--work-tree={checkout}", *arguments, cwd=checkout, **options)


def _checked_out(mirror: Mirror, commit: str, path: str, folder: Path) -> str:
    text = mirror.git("cat-file", "blob", f"{commit}:{path}")
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    return text


def _is_configured(mirror: Mirror, driver: str) -> bool:
    return bool(mirror.git("config", "--get", f"merge.{driver}.driver", accept=(0, 1)).strip())


def _merged_by(mirror: Mirror, drivers: Collection[str], ours: str, theirs: str, checkout: Path) -> tuple[str, ...]:
    """The files that both sides have changed and that one of these drivers would have to merge."""
    base = mirror.git("merge-base", ours, theirs, accept=(0, 1)).strip()
    both = set(mirror.differing(base, ours)) & set(mirror.differing(base, theirs)) if base else set()
    if not both:
        return ()
    says = "".join(f"{path}\0" for path in sorted(both))
    answer = _in(mirror, checkout, "check-attr", "-z", "--stdin", "merge", says=says).split("\0")
    asked = {path: value for path, _, value in zip(answer[::3], answer[1::3], answer[2::3], strict=False)}
    return tuple(f"{p} (no merge driver {v!r} is configured here)" for p, v in asked.items() if v in drivers)
