"""GLI's eight repositories as bare git repositories on disk: `dev`, `stg`, `main` and one deploy tag in each.

`main` is what production runs, `stg` is one commit ahead of it, `dev` one ahead of `stg`; the tag names the release on
`main`, so it is where a rollback would go once `stg` is released.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox import workflows

Tree = Mapping[str, str]
"""Path to content, as added or replaced by a commit."""

_API = Path(__file__).parent / "api"
_SINCE_RELEASE = timedelta(days=8)
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


def create(folder: Path, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Make `folder/NAME.git` for every name, all at once; the commit of each branch: {branch: {repository: sha}}."""
    now = datetime.now(UTC).replace(microsecond=0)
    tag = (now - _SINCE_RELEASE).strftime("deploy-%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        heads = pool.map(lambda name: _create(path(folder, name), name, tag, now), names)
    branches: dict[str, dict[str, str]] = {"dev": {}, "stg": {}, "main": {}}
    for name, commits in zip(names, heads, strict=True):
        for branch, sha in commits.items():
            branches[branch][name] = sha
    return branches


def path(folder: Path, name: str) -> Path:
    """Where the bare repository of that name lies."""
    return folder / f"{name}.git"


def _create(repository: Path, name: str, tag: str, now: datetime) -> dict[str, str]:
    _initialise(repository)
    git = ["git", "--git-dir", str(repository)]
    stream = _history(name, tag, now)
    subprocess.run([*git, "fast-import", "--quiet"], input=stream, check=True, capture_output=True)
    refs = subprocess.run(
        [*git, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads"],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(line.split() for line in refs.stdout.splitlines())


def _initialise(repository: Path) -> None:
    """What `git init --bare` makes, without a process and without the user's templates."""
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (repository / folder).mkdir(parents=True)
    (repository / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    (repository / "config").write_text(_CONFIG, encoding="utf-8")


def _history(name: str, tag: str, now: datetime) -> bytes:
    """The whole history as a fast-import stream."""
    released = {"CHANGELOG.md": f"# {name}\n\n- The release on main.\n"}
    if name.endswith("_root"):
        released["deployment.log"] = f"{tag} main deployed\n"
    staged = {"CHANGELOG.md": f"# {name}\n\n- What staging tests.\n- The release on main.\n"}
    started = {"NEXT.md": "What is being built.\n"}
    lines = [
        _commit("main", 1, "Set up the service", _first_tree(name), now - timedelta(days=30)),
        _commit("main", 2, "Release", released, now - _SINCE_RELEASE, parent=1),
        _tag(tag, 2, now - _SINCE_RELEASE),
        _commit("stg", 3, "Prepare the next release", staged, now - timedelta(days=1), parent=2),
        _commit("dev", 4, "Start on what comes after", started, now - timedelta(hours=2), parent=3),
    ]
    return b"".join(lines)


def _first_tree(name: str) -> Tree:
    tree = {"README.md": f"# {name}\n"} | workflows.of(name)
    if name.endswith("_api-server"):
        tree |= {
            str(file.relative_to(_API)): file.read_text(encoding="utf-8")
            for file in sorted(_API.glob("*/migrations/*.py"))
        }
    return tree


def _commit(branch: str, mark: int, message: str, tree: Tree, at: datetime, parent: int | None = None) -> bytes:
    head = f"commit refs/heads/{branch}\nmark :{mark}\ncommitter {_AUTHOR} {int(at.timestamp())} +0000\n"
    start = f"from :{parent}\n" if parent else ""
    files = "".join(f"M 100644 inline {file}\n{_data(content)}" for file, content in tree.items())
    return (head + _data(message + "\n") + start + files).encode()


def _tag(name: str, mark: int, at: datetime) -> bytes:
    head = f"tag {name}\nfrom :{mark}\ntagger {_AUTHOR} {int(at.timestamp())} +0000\n"
    return (head + _data("Deployed to production\n")).encode()


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"
