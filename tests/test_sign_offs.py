"""Sign-offs and signatures, file by file, with real keys: what counts, until when, and whose. No run is made."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gli.common.clock import rfc3339
from gli.common.errors import UsageError
from gli.common.manifest import manifest_id
from gli.config.environments import Environment
from gli.config.parts import Signatures
from gli.gate import sign_offs, signing
from gli.gate.sign_offs import VALID_FOR, by_item, people_by_item, read, write

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
COMMITS = {"app": "a" * 40}
MANIFEST = {"app": {"branch": "stg", "commit": "a" * 40, "tree": "b" * 40}}
ADA, BOB = "Ada <Ada@glibiz.com>", "Bob <bob@glibiz.com>"
PASSED = timedelta(milliseconds=1)


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person with git's settings in a file of the test's own, and without a key."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(signing.KEY_VARIABLE, raising=False)
    is_person(monkeypatch, ADA)


def is_person(monkeypatch: pytest.MonkeyPatch, person: str) -> None:
    name, _, mail = person.rstrip(">").partition(" <")
    monkeypatch.setenv("GIT_COMMITTER_NAME", name)
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", mail)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A key of each person, and one of a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ada", "bob", "eve"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    return {name: folder / name for name in ("ada", "bob", "eve")}


@pytest.fixture
def allowed(tmp_path: Path, keys: dict[str, Path]) -> Path:
    lines = [f"{name}@glibiz.com {keys[name].with_suffix('.pub').read_text()}" for name in ("bob", "ada")]
    (tmp_path / "allowed").write_text("".join(lines))
    return tmp_path / "allowed"


def environment(*, required: bool | None = None, **more: Any) -> Environment:
    signatures = None if required is None else Signatures(allowed_signers="allowed", required=required)
    return Environment(name="stg", branch="stg", counterpart="prod", signatures=signatures, **more)


def put(root: Path, name: str = "one", **changes: Any) -> Path:
    """A sign-off in its folder, with these changes."""
    record = {"item": "PRE-1", "environment": "stg", "result": "ok", "by": ADA, "note": "seen", "commits": COMMITS}
    record |= {"at": rfc3339(NOW), "expires": rfc3339(NOW + VALID_FOR)}
    path = root / sign_offs.FOLDER / "stg" / manifest_id(COMMITS) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | changes))
    return path


def counted(root: Path, now: datetime = NOW, **how: Any) -> list[tuple[str, str, str | None]]:
    given = read(root, environment(**how), COMMITS, now)
    return [(s.record.by, s.record.result, s.signer) for s in given.counting]


def dropped(root: Path, now: datetime = NOW, **how: Any) -> str:
    given = read(root, environment(**how), COMMITS, now)
    assert (len(given.counting), len(given.dropped)) == (0, 1)
    return given.dropped[0]


def test_a_written_sign_off_is_read_back(tmp_path: Path) -> None:
    path, record, is_signed = write(tmp_path, "stg", "PRE-1", rejected=False, note="완료", commits=COMMITS, now=NOW)
    assert (path.name, is_signed) == ("PRE-1-ada@glibiz.com.json", False)
    assert "완료" in path.read_text()
    assert (record.by, record.result, record.expires) == (ADA, "ok", "2026-02-01T09:30:00.000Z")
    assert counted(tmp_path) == [(ADA, "ok", None)]
    write(tmp_path, "stg", "PRE-1", rejected=True, note="no", commits=COMMITS, now=NOW)
    assert counted(tmp_path) == [(ADA, "rejected", None)]


@pytest.mark.parametrize(
    ("changes", "after", "counts"),
    [
        ({}, VALID_FOR - PASSED, True),
        ({}, VALID_FOR, False),
        ({"expires": rfc3339(NOW + timedelta(days=9))}, VALID_FOR, False),
        ({"expires": rfc3339(NOW + timedelta(hours=1))}, timedelta(hours=1), False),
        ({}, timedelta(0), True),
        ({}, -PASSED, False),
        ({"result": "rejected"}, -PASSED, True),
        ({"environment": "prod"}, timedelta(0), False),
        ({"commits": COMMITS | {"web": "c" * 40}}, timedelta(0), False),
    ],
)
def test_a_sign_off_counts_for_its_commits_and_for_a_day(
    tmp_path: Path, changes: dict[str, Any], after: timedelta, counts: bool
) -> None:
    put(tmp_path, **changes)
    assert bool(counted(tmp_path, NOW + after)) is counts


def test_the_reason_is_said_why_one_does_not_count(tmp_path: Path) -> None:
    put(tmp_path, environment="prod")
    assert (
        dropped(tmp_path) == f"PRE-1: the ok of {ADA} does not count: it is of another environment or of other commits"
    )
    put(tmp_path)
    assert dropped(tmp_path, NOW + VALID_FOR).endswith("it has expired")
    assert dropped(tmp_path, NOW - PASSED).endswith("it is from the future")


@pytest.mark.parametrize("names", [("one", "two"), ("two", "one")])
def test_the_last_word_of_a_person_counts(tmp_path: Path, names: tuple[str, str]) -> None:
    """Whatever the files are called, and whether the address has capital letters; of one moment, the rejection."""
    put(tmp_path, names[0], result="rejected")
    put(tmp_path, names[1], by="Ada <ada@GLIBIZ.com>")
    put(tmp_path, "three", by=BOB, item="PRE-2")
    assert [result for _, result, _ in counted(tmp_path)] == ["rejected", "ok"]
    put(tmp_path, names[1], at=rfc3339(NOW + PASSED))
    assert [result for _, result, _ in counted(tmp_path, NOW + PASSED)] == ["ok", "ok"]


def test_an_item_that_somebody_rejected_is_confirmed_by_nobody(tmp_path: Path) -> None:
    put(tmp_path, "one")
    put(tmp_path, "two", by=BOB)
    given = read(tmp_path, environment(), COMMITS, NOW).counting
    assert by_item(given) == {"PRE-1": [ADA, BOB]}
    put(tmp_path, "two", by=BOB, result="rejected")
    assert by_item(read(tmp_path, environment(), COMMITS, NOW).counting) == {}


def test_people_sign_before_a_promotion_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gli.common.clock.now", lambda: NOW)
    put(tmp_path)
    assert people_by_item(tmp_path, environment(), MANIFEST) == {"PRE-1": [ADA]}
    assert people_by_item(tmp_path, environment(), {}) == {}
    assert people_by_item(tmp_path, environment().model_copy(update={"counterpart": None}), MANIFEST) == {}


@pytest.mark.parametrize("changes", [{"by": "Ada"}, {"result": "fine"}, {"at": "yesterday"}, {"expires": "2026-W05-6"}])
def test_a_damaged_sign_off_stops_the_gate(tmp_path: Path, changes: dict[str, str]) -> None:
    put(tmp_path, **changes)
    with pytest.raises(UsageError, match=r"^checklists/sign-offs/.* is no sign-off \([^\n]*\); take it out, and sign"):
        read(tmp_path, environment(), COMMITS, NOW)


def test_a_sign_off_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "checklists").touch()
    with pytest.raises(UsageError, match="can't be written: "):
        write(tmp_path, "stg", "PRE-1", rejected=False, note="seen", commits=COMMITS, now=NOW)


# ---- signatures


@pytest.mark.parametrize(
    ("key", "required", "seen"),
    [
        ("ada", True, [(ADA, "ok", "ada@glibiz.com")]),
        ("ada", False, [(ADA, "ok", "ada@glibiz.com")]),
        ("bob", False, [(ADA, "ok", None)]),
        ("bob", True, []),
        ("eve", True, []),
        ("", True, []),
    ],
)
def test_the_key_must_be_the_authors(
    tmp_path: Path, keys: dict[str, Path], allowed: Path, key: str, required: bool, seen: list[Any]
) -> None:
    path = put(tmp_path)
    if key:
        signing.sign(path, signing.SIGN_OFF, str(keys[key]))
    assert counted(tmp_path) == [(ADA, "ok", None)], "an environment without signers"
    assert counted(tmp_path, required=required) == seen
    if not seen:
        assert dropped(tmp_path, required=True).endswith("it is not signed with a key that is allowed for them")
    put(tmp_path, result="rejected")
    assert counted(tmp_path, required=True) == [(ADA, "rejected", None)], "a rejection needs no signature"


def test_a_person_signs_with_the_key_of_their_commits(
    tmp_path: Path, keys: dict[str, Path], allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text(f"[user]\nsigningkey = {keys['ada']}\n")
    assert signing.own_key() is None, "git signs with OpenPGP"
    (tmp_path / "gitconfig").write_text(f"[user]\nsigningkey = {keys['ada']}\n[gpg]\nformat = ssh\n")
    assert (signing.own_key(), signing.run_key()) == (str(keys["ada"]), None)
    assert write(tmp_path, "stg", "PRE-1", rejected=False, note="seen", commits=COMMITS, now=NOW)[2]
    assert counted(tmp_path, required=True) == [(ADA, "ok", "ada@glibiz.com")]
    monkeypatch.setenv(signing.KEY_VARIABLE, str(keys["bob"]))
    assert signing.own_key() == signing.run_key() == str(keys["bob"])


def test_no_sign_off_is_left_that_its_key_did_not_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "stg", "PRE-1", rejected=False, note="seen", commits=COMMITS, now=NOW)
    monkeypatch.setenv(signing.KEY_VARIABLE, str(tmp_path / "lost"))
    with pytest.raises(UsageError, match=r"can't be signed with .*lost: .*No such file.*; see GLI_SIGNING_KEY"):
        write(tmp_path, "stg", "PRE-1", rejected=False, note="seen", commits=COMMITS, now=NOW)
    assert counted(tmp_path) == []


@pytest.fixture
def signed(tmp_path: Path, keys: dict[str, Path]) -> Path:
    (tmp_path / "verdict.json").write_bytes(b"said")
    assert signing.sign(tmp_path / "verdict.json", signing.VERDICT, str(keys["ada"])).name == "verdict.json.sig"
    return tmp_path / "verdict.json"


def test_a_signature_is_of_one_content_one_purpose_and_one_allowed_key(
    signed: Path, keys: dict[str, Path], allowed: Path
) -> None:
    def signer(says: bytes = b"said", namespace: str = signing.VERDICT) -> str | None:
        return signing.signer(signed, says, namespace, allowed)

    assert signer() == "ada@glibiz.com"
    assert (signer(b"else"), signer(namespace=signing.SIGN_OFF)) == (None, None)
    public = keys["ada"].with_suffix(".pub").read_text()
    allowed.write_text(f'ada@glibiz.com valid-before="20200101" {public}')
    assert signer() is None, "the key has expired"
    allowed.write_text(f'ada@glibiz.com namespaces="{signing.SIGN_OFF}" {public}')
    assert signer() is None, "the key may sign something else"
    allowed.write_text(f"bob@glibiz.com {keys['bob'].with_suffix('.pub').read_text()}")
    assert signer() is None
    allowed.unlink()
    assert signer() is None
    allowed.write_text(f"ada@glibiz.com {public}")
    signing.sign(signed, signing.VERDICT, str(keys["eve"]))
    assert signer() is None, "the new signature replaced the old one"
    signed.with_name("verdict.json.sig").unlink()
    assert signer() is None


def test_a_run_signs_if_it_has_a_key(signed: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = signed.with_name("verdict.json.sig").read_text()
    assert (signing.sign_verdict(signed), signed.with_name("verdict.json.sig").read_text()) == ("", before)
    monkeypatch.setenv(signing.KEY_VARIABLE, str(keys["bob"]))
    assert signing.sign_verdict(signed) == ""
    assert signed.with_name("verdict.json.sig").read_text() != before
    monkeypatch.setenv(signing.KEY_VARIABLE, "ssh-ed25519 AAAA of nobody")
    assert "verdict.json can't be signed with ssh-ed25519" in signing.sign_verdict(signed)
    assert not signed.with_name("verdict.json.sig").exists()


def test_without_ssh_keygen_nothing_is_signed(
    signed: Path, keys: dict[str, Path], allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert signing.signer(signed, b"said", signing.VERDICT, allowed) is None
    with pytest.raises(UsageError, match="ssh-keygen is not installed"):
        signing.sign(signed, signing.VERDICT, str(keys["ada"]))


def test_only_a_person_is_asked_for_a_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setenv("SSH_ASKPASS", "/usr/bin/ask")
    asked, alone = signing._variables(ask=True), signing._variables(ask=False)
    assert (asked["DISPLAY"], asked["SSH_ASKPASS"], "SSH_ASKPASS_REQUIRE" in asked) == (":7", "/usr/bin/ask", False)
    assert (alone["DISPLAY"], alone["SSH_ASKPASS"], alone["SSH_ASKPASS_REQUIRE"]) == ("", "false", "force")
