"""Damaged and hostile input files: a reader takes the file, or refuses it in one sentence that names the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sample_verdicts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ROOT, exhaustive
from gli.common import clock
from gli.common.documents import parsed
from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.common.verdict_file import digest
from gli.config import catalogue, environments, toml_tables, waivers
from gli.gate import gate, sign_offs
from gli.release import journal
from gli.report import files

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
COMMITS = {"app": "a" * 40}
RUN = "20260131T090000.000-4711"
HOSTILE = (
    *('"', "'", "[", "]", "{", "}", "[[", "=", "\n", "\\", "\x00", "\x1b[2K", "\u202e", "\ufeff", "\ud800"),
    *("nan", "NaN", "-inf", "Infinity", "-1", "0", "1e999", "9" * 5000, "true", "null", "1979-05-27", "[" * 3000),
    *('"\\ud800"', '{"a": {"a": 1}}', "[[[[]]]]", "\u0430pi", "../../etc/passwd", "${HOME}", "%s{0}", "x" * 70_000),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one valid file of each kind."""
    root = tmp_path_factory.mktemp("files")
    shutil.copytree(ROOT / "checklists", root / "checklists")
    for name in ("environments.toml", "pytest.ini", "conftest.py"):
        shutil.copy(ROOT / name, root)
    for name in ("tests_smoke", "tests_infra"):
        shutil.copytree(ROOT / name, root / name)
    (root / "checklists/waivers.toml").write_text(
        '[[waiver]]\ncheck = "api-health"\ntarget = "api"\nenvironment = "stg"\nreason = "known"\n'
        'owner = "Ada"\nexpires = 2026-02-10\n'
    )
    document = sample_verdicts.verdict().document()
    written(root / f"reports/stg/{RUN}/verdict.json", document | {"digest": digest(document)})
    header = {"schema": 1, "environment": "stg", "vantage": "vpc", "overlay": {}}
    record = {"probe": "page", "target": "api", "started": "2026-01-31T09:00:00Z", "duration_s": 0.1}
    lines = [header, record | {"observation": {"status": 200}, "attempts": 1}]
    (root / "facts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sign_off = {"item": "PRE-1", "environment": "stg", "result": "ok", "by": "Ada <ada@glibiz.com>", "note": "seen"}
    sign_off |= {"at": clock.rfc3339(NOW), "expires": "2026-02-01T09:30:00Z"}
    folder = root / sign_offs.FOLDER / "stg" / manifest_id(COMMITS)
    written(folder / "PRE-1-ada.json", sign_off | {"commits": COMMITS})
    one = journal.Journal.create(root / "journal", "20260131090000", "Ada")
    one.append("planned", repositories=["app"])
    one.append("done")
    one.close()
    return root


def written(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1))


def environment(root: Path) -> environments.Environment:
    return environments.load(root, "stg")


READERS: dict[str, Callable[[Path], object]] = {
    "environments.toml": environment,
    "checklists/checks.toml": catalogue.load,
    "checklists/pre-deploy.toml": catalogue.load,
    "checklists/waivers.toml": lambda root: waivers.load(
        root, catalogue.load(ROOT), environment(root), toml_tables.names(root), NOW
    ),
    f"reports/stg/{RUN}/verdict.json": lambda root: gate.newest(root / "reports", "stg", "pre-deploy", NOW),
    "facts.jsonl": lambda root: files.read_facts(root / "facts.jsonl"),
    f"{sign_offs.FOLDER}/stg/{manifest_id(COMMITS)}/PRE-1-ada.json": lambda root: sign_offs.read(
        root, environment(root), COMMITS, NOW
    ),
    "journal/20260131090000.jsonl": lambda root: journal.read(root / "journal/20260131090000.jsonl"),
}
REFUSALS = {True: ValueError, False: UsageError}
"""The gate turns a `ValueError` about a folder of a run into its own sentence."""
changes = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))),
    min_size=1,
    max_size=4,
)
Change = tuple[float, int, str]


def attacked(root: Path, name: str, change: list[Change]) -> None:
    """Replaces parts of a file, reads the file, and puts it back."""
    path = root / name
    whole = text = path.read_text()
    for where, length, piece in change:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + length :]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    refused = ""
    try:
        READERS[name](root)
    except REFUSALS[name.startswith("reports/")] as e:
        refused = str(e).strip()
    finally:
        path.write_text(whole)
    assert "\n" not in refused, refused[:2_000]


ANY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture], "derandomize": True}


@pytest.mark.parametrize("name", READERS)
@given(change=changes)
@settings(max_examples=15, **ANY)  # type: ignore[arg-type]
def test_a_damaged_file_is_read_or_refused_in_one_sentence(root: Path, name: str, change: list[Change]) -> None:
    attacked(root, name, change)


@exhaustive
@pytest.mark.parametrize("name", READERS)
@given(change=changes)
@settings(max_examples=500, **ANY)  # type: ignore[arg-type]
def test_many_damaged_files_are_read_or_refused(root: Path, name: str, change: list[Change]) -> None:
    attacked(root, name, change)


@pytest.mark.parametrize("name", READERS)
def test_the_files_that_are_damaged_are_valid_before(root: Path, name: str) -> None:
    READERS[name](root)


@pytest.mark.parametrize("text", ['{"verdict": "NO-GO", "verdict": "GO"}', '{"a": NaN}', '{"a": -Infinity}'])
def test_json_that_readers_understand_differently_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a key stands twice|is no JSON"):
        parsed(text)


@pytest.mark.parametrize("schema", [True, 1.0, "1", 2, None])
def test_another_schema_is_refused(root: Path, tmp_path: Path, schema: object) -> None:
    """Python holds `true` and 1.0 for equal to 1."""
    document = json.loads((root / f"reports/stg/{RUN}/verdict.json").read_text()) | {"schema": schema}
    written(tmp_path / "verdict.json", document)
    with pytest.raises(ValueError, match=r"schema"):
        files.read_verdict(tmp_path / "verdict.json")
    (tmp_path / "facts.jsonl").write_text(json.dumps({"schema": schema, "environment": "stg"}))
    with pytest.raises(UsageError, match="no header of a recorded run"):
        files.read_facts(tmp_path / "facts.jsonl")


@pytest.mark.parametrize("text", ["2026-W05-6T09:00:00Z", "20260131T090000Z", "2026-01-31T09Z", "2026-01-31T09:00:00"])
def test_a_time_of_another_standard_is_refused(text: str) -> None:
    assert clock.moment("2026-01-31t09:00:00.5z").microsecond == 500_000
    with pytest.raises(ValueError, match="no time of RFC 3339, with its zone"):
        clock.moment(text)


@pytest.mark.parametrize("name", ["a/../../b", "..", "own: GO\nVERDICT own", ""])
def test_a_name_of_an_environment_is_one_word(tmp_path: Path, name: str) -> None:
    (tmp_path / "environments.toml").write_text(f'[{json.dumps(name)}]\nbranch = "main"\n')
    with pytest.raises(UsageError, match="is no name of an environment: give it letters"):
        environments.load(tmp_path, name)


def test_a_file_whose_name_is_no_text_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "tests_own").mkdir()
    before = catalogue.Catalogue({}, {}, tmp_path).sha256
    (tmp_path / "tests_own" / os.fsdecode(b"x\xff.py")).touch()
    assert catalogue.Catalogue({}, {}, tmp_path).sha256 != before


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 3_000,
        "x = " + "{a = " * 3_000,
        "a." * 5_000 + "b = 1",
        "x = " + "9" * 5_000,
        "x = '\0'",
        "\ufeffx",
    ],
)
def test_toml_without_a_bottom_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "environments.toml").write_text(text)
    with pytest.raises(UsageError, match=r"^environments.toml is not valid TOML: [^\n]*; mend that line$"):
        toml_tables.read_tables(tmp_path)


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    """A commit may hold a link to a device. A check's file may be one too: pytest does not import such a file."""
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "waivers.toml").symlink_to("/dev/zero")
    for name in ("pipe.toml", "waivers.toml"):
        with pytest.raises(UsageError, match="can't be read: not a regular file"):
            toml_tables.read(tmp_path / name, name)
    with pytest.raises(UsageError, match="can't be read"):
        files.read_facts(tmp_path / "waivers.toml")
    (tmp_path / "tests_own").mkdir()
    os.mkfifo(tmp_path / "tests_own/test_pipe.py")
    (tmp_path / "tests_own/test_folder.py").mkdir()
    (tmp_path / "tests_own/test_lost.py").symlink_to("nowhere")
    assert catalogue.docstrings(tmp_path) == {}
