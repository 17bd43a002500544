"""The gate to production: staging's run, production's run, and people's sign-offs. It refuses every tampering."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import Project, clean_environment, gli_forked, run_forked
from gli.common.manifest import manifest_id
from gli.common.verdict_file import digest

HEAD = '[headings.all]\nen = "All"\nko = "전체"\n'
PRE = (
    HEAD
    + '[PRE-1]\nheading = "all"\ntext.en = "It works"\ntext.ko = "동작"\nchecks = ["first-check", "second-check"]\n'
    + '[PRE-2]\nheading = "all"\ntext.en = "Two agree"\ntext.ko = "동의"\npeople = 2\n'
)
ENVIRONMENTS = """
[[repositories]]
name = "app"
[[repositories]]
name = "web"
[own]
branch = "stg"
counterpart = "live"
[own.git]
remote = "here:{repository}.git"
[own.services.api]
url = "http://127.0.0.1:9"
repository = "app"
[live]
extends = "own"
branch = "main"
counterpart = "own"
production = true
"""
SIGNED = '[own.signatures]\nallowed_signers = "checklists/allowed_signers"\nrequired = true\n'
ADA, BOB = "ada@glibiz.com", "bob@glibiz.com"


class Release:
    """A project with two environments and two real repositories, ready for a promotion."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("environments.toml", ENVIRONMENTS)
        # the file must be the same in every copy of the project, because a verdict depends on it
        self.write("gitconfig", f'[url "{root}/git/"]\n\tinsteadOf = here:\n')
        self.where = {"GIT_CONFIG_GLOBAL": str(root / "gitconfig")}

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text, encoding="utf-8")

    def gli(self, *arguments: str, mail: str = ADA, **env: str) -> subprocess.CompletedProcess[str]:
        who = {"GIT_COMMITTER_NAME": mail.partition("@")[0].title(), "GIT_COMMITTER_EMAIL": mail}
        return gli_forked(*arguments, root=self.root, env=self.where | who | env)

    def verify(self, environment: str, *arguments: str, **env: str) -> int:
        reports = self.root / "reports"
        return run_forked(
            f"--env={environment}", *arguments, root=self.root, reports=reports, env=self.where | env
        ).code

    def sign(self, *arguments: str, mail: str = ADA, item: str = "PRE-2", **env: str) -> Path:
        done = self.gli("sign", item, "--env", "own", "--note", "seen", *arguments, mail=mail, **env)
        assert done.returncode == 0, done.stderr
        found = re.search(r"commit (\S+\.json)", done.stdout)
        assert found is not None
        return self.root / found[1]

    def gate(self) -> tuple[int, str]:
        done = self.gli("gate", "--env", "own")
        assert done.stderr == ""
        return done.returncode, done.stdout

    def commit(self, repository: str, branch: str) -> None:
        git(
            self.root / f"git/{repository}.git",
            "commit-tree",
            "-m",
            "more",
            "-p",
            branch,
            f"{branch}^{{tree}}",
            then=branch,
        )

    def verdict(self, environment: str) -> Path:
        return next(self.root.glob(f"reports/{environment}/[0-9]*/verdict.json"))

    def edit(self, environment: str, /, *, reseal: bool = False, **changes: Any) -> None:
        path = self.verdict(environment)
        document = json.loads(path.read_text()) | changes
        if reseal:
            document["digest"] = digest(document)
        path.write_text(json.dumps(document))


def git(repository: Path, *arguments: str, then: str | None = None) -> str:
    who = {f"GIT_{role}_{what}": "dev@glibiz.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    told = ["git", "--git-dir", str(repository)]
    done = subprocess.run(
        [*told, *arguments], env=clean_environment() | who, capture_output=True, text=True, check=True
    )
    if then is not None:
        subprocess.run([*told, "update-ref", f"refs/heads/{then}", done.stdout.strip()], check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both environments verified, nothing signed yet."""
    root = tmp_path_factory.mktemp("release") / "project"
    project = Project(root)
    project.write("checklists/pre-deploy.toml", PRE)
    for name in ("app", "web"):
        repository = root / f"git/{name}.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
        git(repository, "config", "uploadpack.allowFilter", "true")
        tree = git(repository, "write-tree")
        first = git(repository, "commit-tree", "-m", "first", tree, then="main")
        git(repository, "commit-tree", "-m", "next", "-p", first, tree, then="stg")
    release = Release(root)
    assert release.verify("own", "--phase=pre-deploy") == 0
    assert release.verify("live", "--phase=pre-deploy") == 0
    return root


@pytest.fixture
def release(template: Path, tmp_path: Path) -> Release:
    shutil.copytree(template, tmp_path / "project", symlinks=True)
    return Release(tmp_path / "project")


def test_yes_needs_both_runs_and_two_people(release: Release) -> None:
    code, said = release.gate()
    assert (code, "pending" in said, "PRE-2 (0 of 2)" in said) == (3, True, True)
    release.sign()
    release.sign("--note", "seen again")
    assert "PRE-2 (1 of 2)" in release.gate()[1], "one person counts once"
    release.sign(mail=BOB)
    code, said = release.gate()
    assert code == 0, said
    assert said.startswith("yes: the newest verdict for own")
    assert f"PRE-2: Ada <{ADA}>, asserted, not signed" in said


@pytest.fixture(scope="module")
def allowed_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `template`, with sign-offs by two people: the gate says yes."""
    root = tmp_path_factory.mktemp("allowed") / "project"
    shutil.copytree(template, root, symlinks=True)
    release = Release(root)
    release.sign()
    release.sign(mail=BOB)
    assert release.gate()[0] == 0
    return root


@pytest.fixture
def allowed(allowed_template: Path, tmp_path: Path) -> Release:
    shutil.copytree(allowed_template, tmp_path / "project", symlinks=True)
    return Release(tmp_path / "project")


def stale(release: Release) -> None:
    past = datetime.now(UTC) - timedelta(hours=3)
    release.edit("own", reseal=True, finished=past.isoformat(), expires=(past + timedelta(hours=9)).isoformat())


def forget_the_red(release: Release) -> None:
    checks = json.loads(release.verdict("own").read_text())["checks"][1:]
    release.edit("own", reseal=True, checks=checks)


def old_sign_off(release: Release) -> None:
    path = next(release.root.glob("checklists/sign-offs/own/*/PRE-2-ada*.json"))
    past = datetime.now(UTC) - timedelta(hours=25)
    record = json.loads(path.read_text()) | {"at": past.isoformat(), "expires": "2100-01-01T00:00:00Z"}
    path.write_text(json.dumps(record))


def sign_off_of_another_release(release: Release) -> None:
    path = next(release.root.glob("checklists/sign-offs/own/*/PRE-2-ada*.json"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"commits": dict.fromkeys(record["commits"], "f" * 40)}))


def a_third_check(release: Release) -> None:
    (release.root / "checklists/waivers.toml").write_text("# nothing is waived\n")


AGAINST: dict[str, tuple[Callable[[Release], object], int, str]] = {
    "staging moved on": (lambda r: r.commit("web", "stg"), 1, "other commits than the heads now of web"),
    "production moved on": (lambda r: r.commit("app", "main"), 1, "verdict for live"),
    "production was never looked at": (lambda r: shutil.rmtree(r.root / "reports/live"), 3, "verdict for live"),
    "production has turned red": (
        lambda r: (r.write("tests_smoke/test_own.py", RED), r.verify("live", "--phase=pre-deploy")),
        1,
        "second-check[api] failed",
    ),
    "another phase": (lambda r: r.edit("own", reseal=True, phase="post-deploy"), 3, "no readable verdict for own"),
    "another environment": (lambda r: r.edit("own", reseal=True, environment="live"), 1, "was earned on live"),
    "an edited file": (lambda r: r.edit("own", account="999"), 1, "was edited after the run wrote it"),
    "no digest": (lambda r: r.edit("live", digest=""), 1, "was edited after the run wrote it"),
    "a red taken out": (forget_the_red, 1, "says GO without the proof of first-check[api]"),
    "a stale verdict": (stale, 3, "expired at"),
    "a partial run": (lambda r: r.verify("own", "--phase=pre-deploy", "-k", "first"), 1, "partial: 1 of 2"),
    "another catalogue": (a_third_check, 1, "was judged by another catalogue"),
    "an old sign-off": (old_sign_off, 3, "PRE-2 (1 of 2)"),
    "a sign-off of another release": (sign_off_of_another_release, 3, "PRE-2 (1 of 2)"),
    "a rejection": (lambda r: r.sign("--reject", mail="eve@glibiz.com"), 1, "PRE-2 was rejected by Eve"),
    "a remote that is gone": (lambda r: shutil.rmtree(r.root / "git/web.git"), 3, "can't be read now"),
}
RED = "def test_first_check(target): pass\ndef test_second_check(target): assert False, 'broken'\n"


@pytest.mark.parametrize("case", AGAINST)
def test_each_kind_of_tampering_or_age_is_refused_with_its_own_sentence(allowed: Release, case: str) -> None:
    change, code, sentence = AGAINST[case]
    change(allowed)
    refused, said = allowed.gate()
    assert (refused, sentence in said) == (code, True), said


def test_a_new_commit_voids_the_sign_offs(allowed: Release) -> None:
    allowed.commit("web", "stg")
    assert allowed.verify("own", "--phase=pre-deploy") == 0
    assert "PRE-2 (0 of 2)" in allowed.gate()[1]


@pytest.mark.parametrize("text", ["{", "[" * 200_000, '"\\ud800"'])
def test_a_damaged_sign_off_is_named(release: Release, text: str) -> None:
    path = release.sign()
    path.write_text(text)
    done = release.gli("gate", "--env", "own")
    assert done.returncode == 2
    assert f"{path.relative_to(release.root)} is no sign-off" in done.stderr


def record(release: Release, mail: str, **changes: Any) -> Path:
    """Add a sign-off by Ada, with another spelling of her address."""
    path = next(release.root.glob("checklists/sign-offs/own/*/PRE-2-ada@*.json"))
    document = json.loads(path.read_text()) | {"by": f"Ada <{mail}>"} | changes
    other = path.with_name(f"PRE-2-{mail}.json")
    other.write_text(json.dumps(document))
    return other


def test_the_newest_sign_off_of_a_person_counts_in_any_file_order(allowed: Release) -> None:
    at = json.loads(next(allowed.root.glob("checklists/sign-offs/own/*/PRE-2-ada@*.json")).read_text())["at"]
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    other = record(allowed, "ADA@glibiz.com", result="rejected")
    assert allowed.gate()[0] == 1, "of two at one moment the rejection"
    other.unlink()
    other = record(allowed, "ADA@glibiz.com", result="rejected", at=later)
    assert allowed.gate()[0] == 1
    record(
        allowed, "ADA@glibiz.com", result="rejected", at=(datetime.fromisoformat(at) - timedelta(hours=1)).isoformat()
    )
    assert allowed.gate()[0] == 0
    allowed.sign(mail="Ada@GLIBIZ.com")
    assert {p.name for p in other.parent.glob("*ada*")} == {f"PRE-2-{ADA}.json"}, "one file a person"


def test_a_signer_must_be_a_person(allowed: Release) -> None:
    path = record(allowed, "ada@glibiz.com", by="Ada")
    done = allowed.gli("gate", "--env", "own")
    assert (done.returncode, f"{path.relative_to(allowed.root)} is no sign-off" in done.stderr) == (2, True)


def test_a_rejection_needs_no_signature_and_an_unsigned_ok_is_reported(strict: Release) -> None:
    strict.sign()
    code, said = strict.gate()
    assert (code, "PRE-2: the ok of Ada <ada@glibiz.com> does not count: it is not signed" in said) == (3, True), said
    strict.sign("--reject", mail="eve@glibiz.com")
    code, said = strict.gate()
    assert (code, "PRE-2 was rejected by Eve" in said) == (1, True), said


@pytest.mark.parametrize("allowed_signers", ["checklists/nowhere", "checklists"])
def test_a_missing_allowed_signers_file_is_named(release: Release, allowed_signers: str) -> None:
    release.write("environments.toml", ENVIRONMENTS + SIGNED.replace("checklists/allowed_signers", allowed_signers))
    done = release.gli("gate", "--env", "own")
    sentence = f"environments.toml: [own.signatures] allowed_signers = '{allowed_signers}' is no file; write it"
    assert (done.returncode, sentence in done.stderr) == (2, True)
    assert release.verify("own") == 4


USAGE = {
    "an unknown item": (("PRE-9", "--env", "own", "--note", "x"), "no item is called 'PRE-9'"),
    "an item of checks": (("PRE-1", "--env", "own", "--note", "x"), "PRE-1 is proven by checks alone"),
    "the wrong environment": (("PRE-2", "--env", "live", "--note", "x"), "PRE-2 is signed for staging"),
    "an empty note": (("PRE-2", "--env", "own", "--note", " "), "--note is empty"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_use_of_sign_is_one_sentence(release: Release, case: str) -> None:
    arguments, sentence = USAGE[case]
    done = release.gli("sign", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"gli: {sentence}")
    assert not (release.root / "checklists/sign-offs").exists()


def test_a_person_without_a_git_identity_cannot_sign(release: Release) -> None:
    done = release.gli("sign", "PRE-2", "--env", "own", "--note", "x", mail="nobody")
    assert done.returncode == 2
    assert "git does not know who you are" in done.stderr


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    found = {}
    for name in ("ci", "ada", "bob", "stranger"):
        found[name] = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(found[name])], check=True)
    return found


@pytest.fixture(scope="module")
def strict_template(template: Path, keys: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `allowed_template`, but the gate requires signatures, and they exist."""
    root = tmp_path_factory.mktemp("strict") / "project"
    shutil.copytree(template, root, symlinks=True)
    release = Release(root)
    names = {"ci": "ci@glibiz.com", "ada": ADA, "bob": BOB}
    for_what = {"ci": "gli-verdict", "ada": "gli-sign-off", "bob": "gli-sign-off"}
    public = {name: keys[name].with_suffix(".pub").read_text().strip() for name in names}
    lines = [f'{mail} namespaces="{for_what[name]}" {public[name]}' for name, mail in names.items()]
    release.write("checklists/allowed_signers", "\n".join(lines) + "\n")
    release.write("environments.toml", ENVIRONMENTS + SIGNED)
    shutil.rmtree(root / "reports")
    for environment in ("own", "live"):
        assert release.verify(environment, "--phase=pre-deploy", GLI_SIGNING_KEY=str(keys["ci"])) == 0
    for name, mail in (("ada", ADA), ("bob", BOB)):
        release.sign(mail=mail, GLI_SIGNING_KEY=str(keys[name]))
    assert release.gate()[0] == 0, release.gate()
    return root


@pytest.fixture
def strict(strict_template: Path, tmp_path: Path) -> Release:
    shutil.copytree(strict_template, tmp_path / "project", symlinks=True)
    release = Release(tmp_path / "project")
    release.write("environments.toml", ENVIRONMENTS + SIGNED)
    return release


def resign(release: Release, key: Path, namespace: str) -> None:
    path = release.verdict("own")
    path.with_name("verdict.json.sig").unlink()
    subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", namespace, str(path)], capture_output=True, check=True
    )


FORGED: dict[str, tuple[Callable[[Release, dict[str, Path]], object], int, str]] = {
    "no signature": (lambda r, k: r.verdict("own").with_name("verdict.json.sig").unlink(), 1, "no good signature"),
    "a key that nobody allowed": (lambda r, k: resign(r, k["stranger"], "gli-verdict"), 1, "no good signature"),
    "a signature of something else": (lambda r, k: resign(r, k["ci"], "gli-sign-off"), 1, "no good signature"),
    "the key of a person": (lambda r, k: resign(r, k["ada"], "gli-verdict"), 1, "no good signature"),
    "a key that may sign sign-offs too": (
        lambda r, k: r.write("checklists/allowed_signers", f"ci@glibiz.com {k['ci'].with_suffix('.pub').read_text()}"),
        1,
        "the line of ci@glibiz.com in the allowed signers says nothing of what the key may sign",
    ),
    "a resealed edit": (lambda r, k: r.edit("own", reseal=True, account="999"), 1, "no good signature"),
    "an unsigned sign-off": (lambda r, k: r.sign(), 3, "PRE-2 (1 of 2)"),
    "a sign-off under another name": (
        lambda r, k: r.sign(mail=ADA, GLI_SIGNING_KEY=str(k["bob"])),
        3,
        "PRE-2 (1 of 2)",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_signature_is_refused_where_signatures_are_required(
    strict: Release, keys: dict[str, Path], case: str
) -> None:
    change, code, sentence = FORGED[case]
    change(strict, keys)
    refused, said = strict.gate()
    assert (refused, sentence in said) == (code, True), said


def test_without_signatures_a_forged_verdict_counts_and_the_gate_says_that_nobody_signed_it(release: Release) -> None:
    release.sign()
    release.sign(mail=BOB)
    release.edit("own", reseal=True, account="999")
    code, said = release.gate()
    assert (code, "  own: not signed" in said.splitlines()) == (0, True), said


def test_a_run_with_a_key_signs_its_verdict(strict: Release, keys: dict[str, Path]) -> None:
    assert strict.verify("own", "--phase=pre-deploy", GLI_SIGNING_KEY=str(keys["ci"])) == 0
    code, said = strict.gate()
    assert code == 0, said
    assert "own: signed by ci@glibiz.com" in said


def test_a_key_that_fails_leaves_the_verdict_unsigned(strict: Release, tmp_path: Path) -> None:
    assert strict.verify("own", "--phase=pre-deploy", GLI_SIGNING_KEY=str(tmp_path / "none")) == 0
    assert "no good signature" in strict.gate()[1]


def test_a_manifest_has_the_same_name_in_any_order() -> None:
    assert manifest_id({"a": "1", "b": "2"}) == manifest_id({"b": "2", "a": "1"})
    assert manifest_id({"a": "1"}) != manifest_id({"a": "2"})
