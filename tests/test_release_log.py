"""`deployment.log`: one line for each operation, from the journals or only from the tags, on its own branch."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
import release_rig
from click.testing import CliRunner, Result
from release_rig import FIRST_TAG, NAMES, REFUSE, Rig

from gli.cli.group import main
from gli.release import emergency, log
from gli.release import journal as journals
from gli.release.mirror import Mirror
from gli.release.session import Approval


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = release_rig.make(tmp_path_factory.mktemp("log"))
    release_rig.project(rig)
    return rig


@pytest.fixture
def rig(made: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("GLI_ENV", "own")
    made.reset()
    yield made
    made.reset()


def gli(*arguments: str) -> Result:
    """Run `gli ARGUMENTS` in this process."""
    ended = CliRunner().invoke(main, arguments)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def branch(rig: Rig) -> log.Branch:
    """The log's branch, found as a command finds it."""
    return log.Branch(Mirror(rig.settings.repositories[0], rig.state / "mirrors" / "gli_root.git"), rig.state)


def there(rig: Rig) -> list[str]:
    """The log on its branch, read with git only."""
    return rig.git("gli_root", "show", "deployments:deployment.log").splitlines()


def a_day(rig: Rig) -> None:
    """A promotion to stg, one to main, a refused one, an undone one, and a rollback."""
    assert rig.promote("dev", "stg").code == 0
    assert rig.promote().code == 0
    assert rig.promote().code == 1
    for name in ("gli_redis", "gli_websocket"):
        rig.commit(name, "stg", {"more.txt": "more\n"})
    rig.hook("gli_websocket", REFUSE)
    assert rig.promote().code == 1
    (rig.bare("gli_websocket") / "hooks" / "pre-receive").unlink()
    back = rig.roll_back(FIRST_TAG)
    assert back.code == 0, back.said


def test_every_operation_is_one_line_with_time_action_person_and_result(rig: Rig) -> None:
    a_day(rig)
    lines = log.write(rig.state).read_text().splitlines()
    moment = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ"
    id_ = r"\d{8}-\d{6}-[0-9a-f]{4}"
    moved = rf"[0-9a-f]{{8}} -> [0-9a-f]{{8}} \({len(NAMES)} of {len(NAMES)} changed\)"
    who = r"by .+ <.+> approved by Second Person <second@glibiz\.com>"
    said = [
        rf"{moment} {id_} merged dev -> stg {moved} {who}",
        rf"{moment} deploy-\d{{8}}-\d{{6}} deployed stg -> main {moved} {who} verdict 2026-01-31T09:00:00\.000Z",
        rf"{moment} {id_} refused stg -> main by .+ <.+>: main has all of stg .+",
        rf"{moment} {id_} undone stg -> main by .+ <.+>.*: gli_websocket: main was refused .+",
        rf"{moment} rollback-\d{{8}}-\d{{6}} rolled-back {FIRST_TAG} -> main {moved} {who}: it broke",
    ]
    assert len(lines) == len(said)
    for line, expected in zip(lines, said, strict=True):
        assert re.fullmatch(expected, line), (line, expected)
    release = re.compile(r"([0-9a-f]{8}) -> ([0-9a-f]{8}) \(")
    (first, second), (left, reached) = (release.search(lines[i]).groups() for i in (1, 4))  # type: ignore[union-attr]
    assert (left, reached) == (second, first), "a rollback goes from one release to the one before"


def test_landed_releases_can_be_rebuilt_from_the_tags_only(rig: Rig) -> None:
    a_day(rig)
    landed = [
        line for line in log.write(rig.state).read_text().splitlines() if " deployed " in line or "rolled" in line
    ]
    (rig.state / "deployment.log").unlink()
    journals.folder(rig.state).rename(rig.root / "lost")
    ended = gli("log", "--rebuild")
    (rig.root / "lost").rename(journals.folder(rig.state))
    assert ended.exit_code == 0
    first, *rest = ended.output.splitlines()
    assert first.startswith(f"2026-01-01T09:00:00.000Z {FIRST_TAG} tagged main by GLI Developer")
    assert rest == landed


def test_the_branch_gets_every_line_once_and_main_is_not_touched(rig: Rig) -> None:
    rig.promote("dev", "stg")
    before = rig.heads()
    assert len(there(rig)) == 1
    assert log.publish(branch(rig)) == []
    rig.promote()
    after = rig.heads()
    assert there(rig) == (rig.state / "deployment.log").read_text().splitlines()
    assert there(rig) == log.write(rig.state).read_text().splitlines()
    assert len(there(rig)) == 2
    assert rig.heads() == after != before
    assert rig.git("gli_root", "rev-list", "--count", "deployments") == "2", "a commit a line"
    assert rig.git("gli_root", "rev-list", "--count", "main..deployments") == "2", "with a history of its own"


def test_lines_of_another_machine_and_other_files_of_the_branch_stay(rig: Rig) -> None:
    by_hand = "2025-12-31T09:00:00Z deploy-20251231-090000 deployed main by hand"
    seeded = "commit refs/heads/deployments\ncommitter A <a@glibiz.com> 0 +0000\ndata 4\nSeed\n"
    files = {"deployment.log": f"{by_hand}\n", "README.md": "What this is.\n"}
    seeded += "".join(f"M 100644 inline {f}\ndata {len(text)}\n{text}\n" for f, text in files.items())
    rig.git("gli_root", "fast-import", "--quiet", says=seeded)
    rig.promote()
    assert there(rig)[0] == by_hand
    assert " deployed stg -> main " in there(rig)[1]
    assert rig.git("gli_root", "show", "deployments:README.md") == "What this is."
    printed = gli("log")
    assert (printed.exit_code, printed.output.splitlines()) == (0, there(rig))


def test_a_log_line_pushed_first_by_another_person_is_kept(rig: Rig) -> None:
    other = "2026-01-01T00:00:00.000Z 20260101-000000-abcd refused stg -> main by Other <other@glibiz.com>: no"
    stream = "commit refs/heads/other\ncommitter O <o@glibiz.com> 0 +0000\ndata 1\nO\n"
    rig.git(
        "gli_root",
        "fast-import",
        "--quiet",
        says=f"{stream}M 100644 inline deployment.log\ndata {len(other) + 1}\n{other}\n\n",
    )
    late = rig.bare("gli_root") / "hooks" / "update"  # as if another push had landed between our fetch and our push
    late.write_text(
        "#!/bin/sh\n[ $1 = refs/heads/main ] || exit 0\nrm $0\ngit update-ref refs/heads/deployments refs/heads/other\n"
    )
    late.chmod(0o755)
    assert rig.promote().code == 0
    assert there(rig)[0] == other
    assert len(there(rig)) == 2


def test_a_log_line_that_was_not_pushed_is_kept_and_pushed_with_the_next(rig: Rig) -> None:
    rig.hook("gli_root", "#!/bin/sh\n! grep -q refs/heads/deployments\n")
    assert rig.promote("dev", "stg").code == 0
    with rig.down("gli_root"):
        ended = gli("log")
    assert ended.exit_code == 3
    assert "gli_root can't be reached" in ended.stderr
    assert len(ended.stdout.splitlines()) == 1
    assert " merged dev -> stg " in (rig.state / "deployment.log").read_text()
    assert gli("log", "--publish").exit_code == 3
    (rig.bare("gli_root") / "hooks" / "pre-receive").unlink()
    assert gli("log", "--publish").exit_code == 0
    assert len(there(rig)) == 1


def test_the_journals_of_years_are_not_read_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        rig.promote("dev", "stg")
    read, seen = journals.read, []
    monkeypatch.setattr(journals, "read", lambda path: [seen.append(path), read(path)][1])
    rig.promote()
    assert len(set(seen)) == 2, "its own, and the last one, whose line was there"


def test_an_edited_journal_is_marked_in_its_log_line(rig: Rig) -> None:
    rig.promote()
    (path,) = journals.folder(rig.state).glob("*.jsonl")
    path.write_text(path.read_text().replace("Second Person", "Another Person"))
    (line,) = log.write(rig.state).read_text().splitlines()
    assert f" {path.stem} unreadable " in line
    assert "is not as it was written" in line


def test_an_emergency_is_never_called_deployed(rig: Rig) -> None:
    clone = rig.root / "clones" / "gli_redis"
    subprocess.run(["git", "clone", "--quiet", "--template=", rig.bare("gli_redis"), clone], check=True)
    (clone / "fix.txt").write_text("fixed\n")
    who = ["-c", "user.name=A", "-c", "user.email=a@glibiz.com"]
    subprocess.run(["git", "add", "fix.txt"], cwd=clone, check=True)
    subprocess.run(["git", *who, "commit", "--quiet", "-m", "Fix"], cwd=clone, check=True)
    ended = rig.ends(lambda s: emergency.push(s, "main", reason="it burns", approve=lambda request: Approval(None)))
    subprocess.run(["rm", "-r", clone.parent], check=True)
    assert ended.code == 0, ended.said
    (line,) = log.write(rig.state).read_text().splitlines()
    assert re.search(
        r" emergency-\d{8}-\d{6} pushed-unverified clones -> main .* \(1 of 5 changed\) by .*: it burns$", line
    )
    assert "approved" not in line
    assert "verdict" not in line
    assert gli("log", "--rebuild").output.splitlines()[-1] == line
