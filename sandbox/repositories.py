"""GLI's eight repositories as bare git repositories on disk: `dev`, `stg`, `main` and one deploy tag in each.

Production runs `main`. `stg` is one commit ahead of `main`, and `dev` one ahead of `stg`. The tag names the release on
`main`: a rollback returns there after `stg` is released. Any later push is allowed. The root repository also has the
deployment log, on its own branch.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sandbox import workflows
from sandbox.copies import original
from sandbox.site import TAGS, Revisions

Tree = Mapping[str, str]
"""Path to content, as added or replaced by a commit."""

_API = Path(__file__).parent / "api"
_SINCE_RELEASE = timedelta(days=8)
_REMEMBERED = 6
_AUTHOR = "GLI Developer <developer@glibiz.com>"
_CONFIG = """\
[core]
	repositoryformatversion = 0
	bare = true
[uploadpack]
	allowAnySHA1InWant = true
	allowFilter = true
[receive]
	denyNonFastForwards = false
"""


def create(folder: Path, names: Sequence[str]) -> None:
    """Make `folder/NAME.git` for every name, in parallel. A copy has the commits of its original."""
    now = datetime.now(UTC).replace(microsecond=0)
    tag = (now - _SINCE_RELEASE).strftime("deploy-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: _create(path(folder, name), original(name), tag, now), names))


def revisions(folder: Path, names: Sequence[str], branches: Sequence[str]) -> Revisions:
    """The current history of these branches (the first parents of each head), and the tagged commits."""
    asked = {branch: ("--first-parent", f"refs/heads/{branch}") for branch in branches}
    asked[TAGS] = ("--no-walk", "--tags")

    def commits(which: Sequence[str], name: str) -> list[str]:
        return _git(path(folder, name), "rev-list", f"--max-count={_REMEMBERED}", *which).split()

    with ThreadPoolExecutor() as pool:
        found = {key: pool.map(partial(commits, which), names) for key, which in asked.items()}
        return {key: dict(zip(names, listings, strict=True)) for key, listings in found.items()}


def check_out(repository: Path, commit: str, folder: Path) -> None:
    """Write the files of a commit below a folder."""
    done = subprocess.run(
        ["git", "--git-dir", str(repository), "archive", "--format=tar", commit], check=True, capture_output=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder)


def read(repository: Path, commit: str, path: str) -> str:
    """The text of a file at a commit or a branch."""
    return _git(repository, "show", f"{commit}:{path}")


def path(folder: Path, name: str) -> Path:
    """The path of a bare repository."""
    return folder / f"{name}.git"


def refs(repository: Path, under: str) -> dict[str, str]:
    """The refs under `refs/heads` or `refs/tags`: {short name: object}. An annotated tag is not peeled."""
    form = "--format=%(refname:lstrip=2) %(objectname)"
    return dict(line.split() for line in _git(repository, "for-each-ref", form, under).splitlines())


def set_ref(repository: Path, ref: str, target: str | None) -> None:
    """Move a ref, or delete it if `target` is None."""
    _git(repository, "update-ref", *(["-d", ref] if target is None else [ref, target]))


def push(repository: Path, branch: str, message: str, tree: Tree, at: datetime, merged: str | None = None) -> str:
    """Add a commit to a branch, as a merge of `merged` if given; returns its hash."""
    start = f"refs/heads/{branch}^0" + (f"\nmerge {merged}" if merged else "")
    _git(repository, "fast-import", "--quiet", stream=_commit(branch, 1, message, tree, at, parent=start))
    return refs(repository, f"refs/heads/{branch}")[branch]


def link(repository: Path, branch: str, path: str, url: str, commit: str, at: datetime) -> str:
    """Add a submodule to a branch, at a commit of the repository with this address; returns the new commit's hash."""
    named = {".gitmodules": f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'}
    stream = _commit(branch, 1, "Add a submodule", named, at, parent=f"refs/heads/{branch}^0")
    _git(repository, "fast-import", "--quiet", stream=stream + f"M 160000 {commit} {path}\n".encode())
    return refs(repository, f"refs/heads/{branch}")[branch]


def _git(repository: Path, *arguments: str, stream: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(repository), *arguments], input=stream, check=True, capture_output=True
    )
    return done.stdout.decode()


def _create(repository: Path, name: str, tag: str, now: datetime) -> None:
    _initialise(repository)
    _git(repository, "fast-import", "--quiet", stream=_history(name, tag, now))


def _initialise(repository: Path) -> None:
    """Write the files of `git init --bare`, without a process and without the user's templates."""
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (repository / folder).mkdir(parents=True)
    (repository / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    (repository / "config").write_text(_CONFIG, encoding="utf-8")


def _history(name: str, tag: str, now: datetime) -> bytes:
    """The whole history as a fast-import stream."""
    released = {"CHANGELOG.md": f"# {name}\n\n- The release on main.\n"}
    staged = {"CHANGELOG.md": f"# {name}\n\n- What staging tests.\n- The release on main.\n"}
    first, newest = _migrations() if name.endswith("_api-server") else ({}, {})
    started = {"NEXT.md": "What is being built.\n"}
    lines = [
        _commit("main", 1, "Set up the service", _first_tree(name) | first, now - timedelta(days=30)),
        _commit("main", 2, "Release", released, now - _SINCE_RELEASE, parent=":1"),
        _tag(tag, 2, now - _SINCE_RELEASE),
        _commit("stg", 3, "Prepare the next release", staged | newest, now - timedelta(days=1), parent=":2"),
        _commit("dev", 4, "Start on what comes after", started, now - timedelta(hours=2), parent=":3"),
    ]
    if name.endswith("_root"):
        at = now - _SINCE_RELEASE
        line = f"{at:%Y-%m-%dT%H:%M:%S}.000Z {tag} deployed stg -> main by {_AUTHOR}\n"
        lines.append(_commit("deployments", 5, f"{tag} deployed", {"deployment.log": line}, at))
    return b"".join(lines)


def _first_tree(name: str) -> dict[str, str]:
    return {"README.md": f"# {name}\n"} | workflows.of(name)


def _migrations() -> tuple[dict[str, str], dict[str, str]]:
    """The API's migrations: those of the release on main, and the newest one, which only staging has."""
    files = {str(f.relative_to(_API)): f.read_text(encoding="utf-8") for f in sorted(_API.glob("*/migrations/*.py"))}
    newest = max(file for file in files if not file.endswith("__init__.py"))
    return {file: text for file, text in files.items() if file != newest}, {newest: files[newest]}


def _commit(branch: str, mark: int, message: str, tree: Tree, at: datetime, parent: str | None = None) -> bytes:
    head = f"commit refs/heads/{branch}\nmark :{mark}\ncommitter {_AUTHOR} {int(at.timestamp())} +0000\n"
    start = f"from {parent}\n" if parent else ""
    files = "".join(f"M 100644 inline {file}\n{_data(content)}" for file, content in tree.items())
    return (head + _data(message + "\n") + start + files).encode()


def _tag(name: str, mark: int, at: datetime) -> bytes:
    head = f"tag {name}\nfrom :{mark}\ntagger {_AUTHOR} {int(at.timestamp())} +0000\n"
    return (head + _data("Deployed to production\n")).encode()


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"
