"""Merges follow git's attributes and drivers. Also unusual repositories: tags of tags, SHA-256, signed, damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import release_rig
from release_rig import FIRST_TAG, HOME, PUSHING, REFUSE, THREE, Rig, killed

from conftest import sampled
from gli.release import pull
from gli.release.repositories import Repository

LOCKFILE = "".join(f'"{key}": 1\n' for key in "abcde")
NAME = "gli_redis"
ONLY_SIGNED = """\
#!/bin/sh
while read old new ref; do
    for commit in $(git rev-list $new --not --all 2>/dev/null); do
        git cat-file commit $commit | grep -q ^gpgsig || { echo "$ref: $commit is not signed"; exit 1; }
    done
done
"""
"""A host that takes no commit without a signature, on any ref."""


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    settings = tmp_path / "gitconfig"
    settings.touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    return release_rig.make(tmp_path / "rig", THREE)


def configure(key: str, value: str) -> None:
    subprocess.run(["git", "config", "--global", key, value], check=True)


def both_change(rig: Rig, attribute: str, *, path: str = "package-lock.json", where: str = "") -> None:
    """stg and dev change different lines of a file that has an attribute."""
    attributes = {f"{where}.gitattributes": f"{path} {attribute}\n", f"{where}{path}": LOCKFILE}
    base = rig.commit(NAME, "stg", attributes)
    rig.git(NAME, "update-ref", "refs/heads/dev", base)
    rig.commit(NAME, "stg", {f"{where}{path}": LOCKFILE.replace('"a": 1', '"a": 2')})
    rig.commit(NAME, "dev", {f"{where}{path}": LOCKFILE.replace('"e": 1', '"e": 2')})


@pytest.mark.parametrize("where", ["", "deep/er/"])
@pytest.mark.parametrize("attribute", ["-merge", "binary", "merge=binary"])
def test_a_file_that_git_may_not_merge_conflicts(rig: Rig, attribute: str, where: str) -> None:
    both_change(rig, attribute, where=where)
    ended = rig.promote("dev", "stg")
    assert (ended.code, f"conflict in {where}package-lock.json" in ended.said) == (1, True), ended.said


def test_a_file_without_attributes_is_merged_by_lines(rig: Rig) -> None:
    both_change(rig, "text")
    assert rig.promote("dev", "stg").code == 0
    merged = rig.git(NAME, "show", "stg:package-lock.json")
    assert '"a": 2' in merged and '"e": 2' in merged


def test_the_union_attribute_keeps_the_lines_of_both_branches(rig: Rig) -> None:
    base = rig.commit(NAME, "stg", {".gitattributes": "CHANGELOG.md merge=union\n", "CHANGELOG.md": "# log\n"})
    rig.git(NAME, "update-ref", "refs/heads/dev", base)
    rig.commit(NAME, "stg", {"CHANGELOG.md": "# log\n- fix\n"})
    rig.commit(NAME, "dev", {"CHANGELOG.md": "# log\n- feature\n"})
    assert rig.promote("dev", "stg").code == 0
    assert rig.git(NAME, "show", "stg:CHANGELOG.md").splitlines() == ["# log", "- fix", "- feature"]


def test_a_local_merge_driver_is_used_and_a_missing_one_is_named(rig: Rig) -> None:
    both_change(rig, "merge=ours")
    ended = rig.promote("dev", "stg")
    assert ended.code == 1
    assert "package-lock.json (no merge driver 'ours' is configured here)" in ended.said
    configure("merge.ours.driver", "true")
    assert rig.promote("dev", "stg").code == 0
    merged = rig.git(NAME, "show", "stg:package-lock.json")
    assert '"a": 2' in merged and '"e": 1' in merged, "ours is kept"


def test_a_tag_of_a_tag_is_a_rollback_target(rig: Rig) -> None:
    old = rig.trees()
    assert rig.promote().code == 0
    for name in THREE:
        rig.git(name, "tag", "-f", "-a", "-m", "again", FIRST_TAG, FIRST_TAG)
    ended = rig.roll_back(FIRST_TAG)
    assert ended.code == 0, ended.said
    assert rig.trees() == old


@pytest.mark.parametrize("of", ["blob", "tree"])
def test_a_tag_of_a_tag_of_no_commit_stops_nothing(rig: Rig, of: str) -> None:
    object_ = rig.git(NAME, "rev-parse", "main:app.txt" if of == "blob" else "main^{tree}")
    for kind in (of, "tag"):
        about = f"object {object_}\ntype {kind}\ntag deploy-20260102-090000\n"
        object_ = rig.git(NAME, "mktag", says=f"{about}tagger A <a@glibiz.com> 0 +0000\n\nx\n")
    rig.git(NAME, "update-ref", "refs/tags/deploy-20260102-090000", object_)
    ended = rig.promote()
    assert ended.code == 0, ended.said


def test_files_that_power_left_empty_are_written_again(rig: Rig) -> None:
    """The hook makes the log repository's push wait for the others; empty, it would let the push go first."""
    assert rig.promote("dev", "stg").code == 0
    (rig.state / "remote").write_text("")
    (rig.state / "hooks" / "pre-push").write_text("")
    moves = f"test $ref != refs/heads/main || touch {rig.root}/moved"
    rig.hook(HOME, f"#!/bin/sh\nwhile read old new ref; do {moves}; done\n")
    rig.hook(NAME, REFUSE)
    old = rig.trees()
    ended = rig.promote()
    assert (ended.code, rig.trees()) == (1, old), ended.said
    assert not (rig.root / "moved").exists()


def test_a_stale_lock_in_a_mirror_stops_nothing(rig: Rig) -> None:
    assert rig.promote("dev", "stg").code == 0
    mirror = rig.state / "mirrors" / f"{HOME}.git"
    rig.commit(HOME, "stg", {"more.txt": "more\n"})
    for path in ("refs/heads/stg.lock", "packed-refs.lock", "refs/next/log.lock"):
        (mirror / path).parent.mkdir(parents=True, exist_ok=True)
        (mirror / path).touch()
    ended = rig.promote()
    assert ended.code == 0, ended.said


def _emptied(mirror: Path, pattern: str) -> None:
    for path in [path for path in mirror.glob(pattern) if path.is_file()]:
        path.chmod(0o644)
        path.write_bytes(b"")


def _torn(mirror: Path) -> None:
    subprocess.run(["git", f"--git-dir={mirror}", "pack-refs", "--all"], check=True)
    (mirror / "packed-refs").write_bytes((mirror / "packed-refs").read_bytes()[:-30])


def _without_old_files(mirror: Path) -> None:
    base = subprocess.check_output(["git", f"--git-dir={mirror}", "rev-parse", "main:app.txt"], text=True).strip()
    _emptied(mirror, f"objects/{base[:2]}/{base[2:]}")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "objects": lambda mirror: _emptied(mirror, "objects/**/*"),
    "settings": lambda mirror: _emptied(mirror, "config"),
    "packed refs": _torn,
    "an old file": _without_old_files,
    "HEAD": lambda mirror: _emptied(mirror, "HEAD"),
    "shallow": lambda mirror: (mirror / "shallow").write_text("xx"),
    "no objects": lambda mirror: shutil.rmtree(mirror / "objects"),
}
"""What power that failed may leave of a mirror."""


@pytest.mark.parametrize("damage", sampled(list(DAMAGES), 3))
def test_a_damaged_mirror_is_made_again(rig: Rig, damage: str) -> None:
    assert rig.promote("dev", "stg").code == 0
    rig.commit(NAME, "stg", {"app.txt": "1\ntwo\nTHREE\n"})
    rig.commit(NAME, "dev", {"app.txt": "one\ntwo\nTHREE\nfour\n"})
    DAMAGES[damage](rig.state / "mirrors" / f"{NAME}.git")
    ended = rig.promote("dev", "stg")
    assert ended.code == 0, ended.said
    assert rig.git(NAME, "show", "stg:app.txt").split() == ["1", "two", "THREE", "four"]


@pytest.mark.parametrize("damage", sampled(list(DAMAGES), 2))
@pytest.mark.parametrize("how", ["resume", "undo"])
def test_an_operation_ends_after_a_crash_has_damaged_its_mirrors(rig: Rig, how: str, damage: str) -> None:
    """Only the mirrors have the fence's next objects and the tags that were not pushed."""
    old, new = rig.trees(), rig.trees("stg")
    assert killed(rig.promote, "after", PUSHING + 1)
    rig.wait_for_orphans()
    for name in THREE:
        DAMAGES[damage](rig.state / "mirrors" / f"{name}.git")
    ended = rig.recover(how, patience=(0.01,) * 5)
    assert (ended.code, rig.trees()) in [(1, old)] + [(0, new)] * (how == "resume"), ended.said
    after = [rig.roll_back(FIRST_TAG) if ended.code == 0 else rig.promote() for _ in range(2)]
    assert 0 in [again.code for again in after], "the first may find an old file damaged, and make the mirror again"


def test_attributes_outside_of_the_repository_are_refused(rig: Rig) -> None:
    """A host that does not look at what is pushed takes a tree with the entry `..`, which no checkout does."""
    blob = rig.git(NAME, "hash-object", "-w", "--stdin", says="x merge=union\n")
    tree = rig.git(NAME, "mktree", says=f"100644 blob {blob}\t.gitattributes\n")
    for _ in range(2):
        tree = rig.git(NAME, "mktree", says=f"040000 tree {tree}\t..\n")
    rig.git(NAME, "update-ref", "refs/heads/stg", rig.git(NAME, "commit-tree", tree, "-p", "stg", says="x"))
    ended = rig.promote("dev", "stg")
    assert (ended.code, "has ../../.gitattributes, which git would not check out" in ended.said) == (3, True), ended
    assert not list(rig.state.rglob(".gitattributes"))


def test_a_mirror_that_takes_no_hook_does_not_stop_a_release(rig: Rig) -> None:
    """The log repository's push waits in a hook; without one it begins later."""
    (rig.state / "mirrors" / f"{HOME}.git").mkdir(parents=True)
    (rig.state / "mirrors" / f"{HOME}.git" / "hooks").touch()
    ended = rig.promote()
    assert ended.code == 0, ended.said


def test_a_log_line_that_cannot_be_built_does_not_undo_a_release(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from gli.git.command import GitFailed
    from gli.release import log

    def fails(self: log.Branch, missing: object) -> None:
        raise GitFailed(("fast-import",), 128, "fatal: cannot write")

    new = rig.trees("stg")
    monkeypatch.setattr(log.Branch, "adding", fails)
    assert rig.promote().code == 0
    assert rig.trees() == new
    assert any("the line of the log can't be built yet" in line for line in rig.told)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_commits_and_tags_are_signed_as_gits_settings_say(rig: Rig, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "signers").write_text(f"{release_rig.ME.rpartition('<')[2][:-1]} {key.with_suffix('.pub').read_text()}")
    for setting, value in (
        ("gpg.format", "ssh"),
        ("user.signingkey", str(key)),
        ("gpg.ssh.allowedSignersFile", str(tmp_path / "signers")),
        ("commit.gpgsign", "true"),
        ("tag.gpgsign", "true"),
    ):
        configure(setting, value)
    for name in THREE:
        rig.hook(name, ONLY_SIGNED)
    ended = rig.promote()
    assert ended.code == 0, ended.said
    tag = rig.journal()[-1].detail["tag"]
    for what in (["verify-commit", "main"], ["verify-tag", tag]):
        rig.git(NAME, *what)
    rig.git(HOME, "verify-commit", "deployments")
    ended = rig.roll_back(FIRST_TAG)
    assert ended.code == 0, ended.said
    rig.git(NAME, "verify-commit", "main")


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An OpenPGP key without a passphrase; its agent ends with the test. The path is short: it holds a socket."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as folder:
        monkeypatch.setenv("GNUPGHOME", folder)
        quiet = ["gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]
        subprocess.run([*quiet, "--quick-generate-key", release_rig.ME, "ed25519", "sign", "never"], check=True)
        yield release_rig.ME
        subprocess.run(["gpgconf", "--kill", "all"], check=False)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_openpgp_signs_what_gits_settings_say_and_nothing_else(rig: Rig, keyring: str) -> None:
    configure("user.signingkey", keyring)
    configure("tag.gpgsign", "true")
    assert rig.promote().code == 0
    rig.git(NAME, "verify-tag", rig.journal()[-1].detail["tag"])
    assert "gpgsig" not in rig.git(NAME, "cat-file", "commit", "main")
    configure("commit.gpgsign", "true")
    ended = rig.promote("dev", "stg")
    assert ended.code == 0, ended.said
    for name in THREE:
        rig.git(name, "verify-commit", "stg")
    rig.git(HOME, "verify-commit", "deployments")


def test_a_key_that_cannot_sign_is_named_before_anything_is_pushed(rig: Rig, tmp_path: Path) -> None:
    before = rig.everything()
    configure("gpg.format", "ssh")
    configure("user.signingkey", str(tmp_path / "no-such-key"))
    configure("commit.gpgsign", "true")
    ended = rig.promote("dev", "stg")
    assert (ended.code, "no-such-key" in ended.said or "sign" in ended.said) == (3, True), ended.said
    assert rig.everything() == before


@pytest.mark.parametrize("renames", ["true", "false"])
def test_a_rename_is_followed_as_gits_settings_say(rig: Rig, renames: str) -> None:
    """One branch renames a file, the other one changes it: the end is that of git's own merge in a checkout."""
    configure("merge.renames", renames)
    configure("merge.conflictStyle", "zdiff3")
    base = rig.commit(NAME, "stg", {"old.txt": LOCKFILE})
    rig.git(NAME, "update-ref", "refs/heads/dev", base)
    rig.commit(NAME, "stg", {"old.txt": LOCKFILE.replace('"a": 1', '"a": 2')})
    rig.commit(NAME, "dev", {"old.txt": None, "new.txt": LOCKFILE})
    clone = rig.root / "clone"
    subprocess.run(["git", "clone", "-q", "-b", "stg", str(rig.bare(NAME)), str(clone)], check=True)
    merged = subprocess.run(
        ["git", "-C", str(clone), "merge", "-q", "origin/dev", "-m", "x"], capture_output=True, check=False
    )
    tree = subprocess.check_output(["git", "-C", str(clone), "rev-parse", "HEAD^{tree}"], text=True).strip()
    ended = rig.promote("dev", "stg")
    assert ended.code == merged.returncode, ended.said
    assert rig.trees("stg")[NAME] == tree


def _on_top(repository: Path) -> str:
    """A commit on top of main, as another person pushes it."""
    asked = ["git", "-C", str(repository), "commit-tree", "-m", "Later", "-p", "main", "main^{tree}"]
    return subprocess.check_output(asked, text=True).strip()


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
@pytest.mark.parametrize("installed", [True, False])
def test_an_emergency_push_uploads_git_lfs_files_or_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: bool
) -> None:
    from gli.release.emergency import push

    clone = rig.root / "clones" / NAME
    subprocess.run(["git", "clone", "-q", "-b", "main", f"file://{rig.bare(NAME)}", str(clone)], check=True)

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(clone), *arguments], check=True, capture_output=True)

    git("lfs", "install", "--local")
    git("lfs", "track", "*.bin")
    (clone / "big.bin").write_bytes(os.urandom(5000))
    git("add", ".")
    git("commit", "-m", "A big file")
    before = rig.refs(NAME)["refs/heads/main"]
    if not installed:
        lonely = tmp_path / "bin"
        lonely.mkdir()
        for program in ("git", "sh"):
            (lonely / program).symlink_to(str(shutil.which(program)))
        monkeypatch.setenv("PATH", str(lonely))
        monkeypatch.setenv("GIT_EXEC_PATH", subprocess.check_output(["git", "--exec-path"], text=True).strip())

    def pushed(*, dry_run: bool = False) -> release_rig.Ended:
        yes = release_rig.Approval(None)
        return rig.ends(lambda s: push(s, "main", reason="now", approve=lambda r: yes, dry_run=dry_run))

    assert not installed or pushed(dry_run=True).said == "dry run: nothing was pushed"
    assert not (rig.bare(NAME) / "lfs").exists()
    ended = pushed()
    if not installed:
        assert ended.code in (1, 3) and "git-lfs" in ended.said, ended
        assert rig.refs(NAME)["refs/heads/main"] == before, "nothing has moved"
        return
    assert ended.code == 0, ended.said
    again = tmp_path / "again"
    subprocess.run(["git", "clone", "-q", "-b", "main", f"file://{rig.bare(NAME)}", str(again)], check=True)
    assert len((again / "big.bin").read_bytes()) == 5000


@pytest.mark.parametrize("version", ["2", "0"])
def test_an_emergency_push_of_an_unpublished_submodule_commit_is_refused(
    rig: Rig, tmp_path: Path, version: str
) -> None:
    """With protocol 0 a host gives only what a ref names: the commit is found below the branch all the same."""
    from gli.release.emergency import push

    configure("protocol.file.allow", "always")
    configure("protocol.version", version)
    library, clone = tmp_path / "library.git", rig.root / "clones" / NAME

    def git(where: Path, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(where), *arguments], check=True, capture_output=True)

    subprocess.run(["git", "clone", "-q", "--bare", str(rig.bare("gli_root")), str(library)], check=True)
    subprocess.run(["git", "clone", "-q", "-b", "main", str(rig.bare(NAME)), str(clone)], check=True)
    git(clone, "submodule", "add", "-b", "main", str(library), "lib")
    git(clone / "lib", "commit", "--allow-empty", "-m", "Only here")
    git(clone, "add", ".")
    git(clone, "commit", "-m", "A library")
    before = rig.heads()

    def pushed() -> release_rig.Ended:
        return rig.ends(lambda s: push(s, "main", reason="now", approve=lambda r: release_rig.Approval(None)))

    ended = pushed()
    assert (ended.code, "no remote of the submodule has (lib at " in ended.said) == (1, True), ended.said
    assert rig.heads() == before
    git(clone / "lib", "push", "origin", "HEAD:main")
    git(library, "update-ref", "refs/heads/main", _on_top(library))
    ended = pushed()
    assert ended.code == 0, ended.said


@pytest.mark.parametrize("version", ["2", "0"])
def test_a_repository_of_sha256_is_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """OpenSSH's server speaks version 0 unless its settings accept GIT_PROTOCOL."""
    (tmp_path / "settings").write_text(f"[protocol]\n\tversion = {version}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    first = release_rig.make(tmp_path / "sha1", THREE)
    rig = Rig(tmp_path / "sha256", tmp_path / "sha256" / "state", THREE)
    for name in THREE:
        subprocess.run(["git", "init", "-q", "--bare", "--object-format=sha256", str(rig.bare(name))], check=True)
        rig.git(name, "symbolic-ref", "HEAD", "refs/heads/main")
        stream = first.git(name, "fast-export", "--all", "--signed-tags=strip")
        rig.git(name, "fast-import", "--quiet", says=stream + "\n")

    def trees(branch: str) -> list[str]:
        return [rig.git(name, "rev-parse", f"{branch}^{{tree}}") for name in THREE]

    ended = rig.promote("dev", "stg")
    assert ended.code == 0, ended.said
    assert trees("stg") == trees("dev")
    assert len(trees("stg")[0]) == 64


def test_pull_updates_submodules_but_not_those_changed_by_a_person(rig: Rig, tmp_path: Path) -> None:
    configure("protocol.file.allow", "always")
    library, work = tmp_path / "library", tmp_path / "work"
    subprocess.run(["git", "init", "-q", "-b", "main", str(library)], check=True)

    def git(where: Path, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(where), *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def grow(text: str) -> None:
        (library / "a").write_text(text)
        git(library, "add", ".")
        git(library, "commit", "-m", text)

    grow("one")
    subprocess.run(["git", "clone", "-q", "-b", "dev", str(rig.bare(NAME)), str(work)], check=True)
    git(work, "submodule", "add", str(library), "lib")
    git(work, "commit", "-m", "A submodule")
    git(work, "push", "origin", "dev")
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "-q", "--recurse-submodules", "-b", "dev", str(rig.bare(NAME)), str(clone)], check=True
    )
    known = [Repository(NAME, str(rig.bare(NAME)), clone)]

    def pulled() -> pull.Pulled:
        return next(iter(pull.pull(known, "dev")))[1]

    def release(text: str) -> None:
        grow(text)
        git(work / "lib", "pull", "origin", "main")
        git(work, "commit", "-am", text)
        git(work, "push", "origin", "dev")

    release("two")
    assert pulled() == pull.Pulled("updated", "1 commit")
    assert (clone / "lib" / "a").read_text() == "two"
    git(work, "rm", "-q", "--cached", "lib")
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    git(work, "commit", "-m", "What is nowhere")
    git(work, "push", "origin", "dev")
    found = pulled()
    assert (found.code, "a submodule could not follow" in found.text) == (1, True)
    text = "up to date; its submodules are at other commits: git submodule update"
    assert pulled() == pull.Pulled("up to date", text)
    git(work, "revert", "--no-edit", "HEAD")
    git(work, "push", "origin", "dev")
    pulled()
    git(clone / "lib", "checkout", "HEAD^")
    release("three")
    found = pulled()
    assert (found.code, "its submodules were at other commits and stay" in found.text) == (0, True)
    assert (clone / "lib" / "a").read_text() == "one", "a person's"
    assert git(clone, "rev-parse", "HEAD") == git(work, "rev-parse", "HEAD")
