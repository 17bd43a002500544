"""Settings of git that a person may have: a release and its rollback move what was planned, whatever they add."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import release_rig
from release_rig import FIRST_TAG, THREE, Rig

SETTINGS = {
    "only submodules are pushed": {"push.recurseSubmodules": "only"},
    "submodules are pushed too": {"submodule.recurse": "true", "push.recurseSubmodules": "on-demand"},
    "tags are pushed too": {"push.followTags": "true"},
    "line ends are made equal in merges": {"merge.renormalize": "true", "core.autocrlf": "true"},
    "texts are written in EUC-KR": {"i18n.commitEncoding": "euc-kr", "i18n.logOutputEncoding": "euc-kr"},
    "objects are checked, and refs pruned": {"transfer.fsckObjects": "true", "fetch.prune": "true"},
    "git's first protocol": {"protocol.version": "0"},
    "commits are negotiated before a push": {"push.negotiate": "true", "fetch.negotiationAlgorithm": "skipping"},
}


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "김철수")
    return release_rig.make(tmp_path, THREE)


@pytest.mark.parametrize("case", SETTINGS)
def test_a_release_moves_what_was_planned_whatever_gits_settings_add(rig: Rig, case: str) -> None:
    assert rig.promote("dev", "stg").code == 0
    for key, value in SETTINGS[case].items():
        subprocess.run(["git", "config", "--global", key, value], check=True)
    old, new, tags = rig.trees(), rig.trees("stg"), [{*rig.refs(name)} for name in THREE]
    ended = rig.promote()
    assert (ended.code, rig.trees()) == (0, new), ended.said
    tag = rig.journal()[-1].detail["tag"]
    added = [{*rig.refs(name)} - before for name, before in zip(THREE, tags, strict=True)]
    assert all(refs == {f"refs/tags/{tag}"} for refs in added), added
    ended = rig.roll_back(FIRST_TAG)
    assert (ended.code, rig.trees()) == (0, old), ended.said
    assert "by 김철수 <" in (rig.state / "deployment.log").read_text(encoding="utf-8").splitlines()[-1]
