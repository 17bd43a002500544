"""The release settings in environments.toml: each mistake gives the same one sentence in every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from gli.common.errors import UsageError
from gli.config import environments
from gli.config.parts import Git, Repository
from gli.release import settings
from gli.release.repositories import ENTRY_KEYS, GIT_KEYS

WRONG = {
    'state = ""': "state = '' should be a folder",
    'workspace = "a\\u0000b"': "workspace = 'a\\\\x00b' should be a folder",
    'deploy_tag = "release"': "deploy_tag = 'release' should be a word of its own and the moment",
    'deploy_tag = "deploy-%Y%m%d"': "should be a word of its own and the moment",
    'deploy_tag = "a tag-%Y%m%d-%H%M%S"': "should be a word of its own and the moment",
    'deploy_tag = "rollback-%Y%m%d-%H%M%S"': "should be a word of its own and the moment",
    'timezone = "Mars/Base"': "should be a name of the IANA time zone database",
    'timezone = "../../etc/passwd"': "should be a name of the IANA time zone database",
    'log_branch = "main"': "log_branch = 'main' should be a branch of its own",
    'log_branch = "a b"': "should be a branch of its own",
    'log_branch = "a.lock"': "should be a branch of its own",
    'log_branch = "a/../b"': "should be a branch of its own",
    'log_path = "../log"': "log_path = '../log' should be the path of a file",
    'log_path = "a\\nM 100644 inline b"': "should be the path of a file",
    'log_brunch = "log"': "log_brunch is not a known key",
    'log_repository = "third"': "git.log_repository is 'third', which no \\[\\[repositories\\]\\] entry names",
    'remote = "/srv/one.git"': "remote = '/srv/one.git' should be an address with {repository} in it",
    'remote = "--upload-pack=touch /tmp/{repository}"': "should be an address with {repository} in it",
}
WRONG_NAMES = {
    'name = "first"': "names first more than once",
    'name = "../second"': "name = '../second' should be a name of letters",
    'name = "-x"': "should be a name of letters",
    'name = ""': "should be a name of letters",
    'name = "second"\nfrist = true': "frist is not a known key",
}
REMOTE = 'remote = "/srv/{repository}.git"'


def _project(folder: Path, *, table: str = REMOTE, second: str = 'name = "second"') -> Path:
    (folder / "environments.toml").write_text(
        f'[[repositories]]\nname = "first"\n[[repositories]]\n{second}\n[own]\nbranch = "stg"\n[own.git]\n{table}\n'
    )
    return folder


def _refused(project: Path, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^environments.toml: .*{sentence}"):
        settings.read(project, "own")
    with pytest.raises(UsageError, match=f"^environments.toml: .*{sentence}"):
        environments.load(project, "own")


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_value_in_the_git_table(tmp_path: Path, line: str) -> None:
    _refused(_project(tmp_path, table=line if line.startswith("remote") else f"{REMOTE}\n{line}"), WRONG[line])


@pytest.mark.parametrize("second", WRONG_NAMES)
def test_a_wrong_repository(tmp_path: Path, second: str) -> None:
    _refused(_project(tmp_path, second=second), WRONG_NAMES[second])


@pytest.mark.parametrize("line", ["state = 3", "deploy_tag = 3", "timezone = 3", "log_branch = 4", "log_path = []"])
def test_values_that_are_not_text(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match="should be a text; mend the value"):
        settings.read(_project(tmp_path, table=f"{REMOTE}\n{line}"), "own")


def test_valid_settings_are_accepted(tmp_path: Path) -> None:
    lines = 'deploy_tag = "live-%Y%m%d-%H%M%S"\ntimezone = "Asia/Seoul"\nlog_branch = "ops/log"\nlog_path = "a/b.log"'
    project = _project(tmp_path, table=f'{REMOTE}\n{lines}\nlog_repository = "second"\nstate = "state"')
    read, loaded = settings.read(project, "own"), environments.load(project, "own").git
    assert loaded is not None
    assert (read.deploy_tag, read.timezone) == (loaded.deploy_tag, loaded.timezone)
    assert (read.log_branch, read.log_path, read.log_repository) == ("ops/log", "a/b.log", "second")
    assert read.state == project / "state"
    assert [r.url for r in read.repositories] == ["/srv/first.git", "/srv/second.git"]


def test_the_reader_without_models_knows_the_same_keys() -> None:
    assert set(GIT_KEYS) == set(Git.model_fields)
    assert set(ENTRY_KEYS) == set(Repository.model_fields)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            'branches = ["production", "production"]',
            "branches = .* should be the names of .* branches, each once",
        ),
        ('branches = ["a b"]', "branches = .* should be the names of one or more branches"),
        ("branches = []", "branches = .* should be the names of one or more branches"),
        ('branches = "main"', "branches = .* should be"),
        (
            'branches = ["deployments"]',
            "log_branch = 'deployments' should be a branch .* none of deployments",
        ),
    ],
)
def test_an_invalid_path_of_branches_is_one_sentence(tmp_path: Path, lines: str, sentence: str) -> None:
    project = _project(tmp_path, table=f"{REMOTE}\n{lines}")
    with pytest.raises(UsageError, match=rf"environments.toml: \[own.git\] {sentence}"):
        settings.read(project, "own")
    with pytest.raises(UsageError, match=rf"environments.toml: \[own.git\] {sentence}"):
        environments.load(project, "own")
