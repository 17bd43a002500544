"""GitHub gets a status for each parked commit, so that a branch rule that requires the status lets the commit in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import release_rig
from release_rig import FIRST_TAG, NAMES, Rig
from served import in_a_thread

from gli.common.errors import UsageError
from gli.common.github import CONTEXT
from gli.common.statuses import Statuses

TOKEN = "ghs_a-token-that-writes-statuses"
RULE = """\
#!/bin/sh
# As a ruleset of GitHub: no push to main without the status.
while read old new ref; do
    [ "$ref" != refs/heads/main ] || [ -e "{folder}/$new" ] || {{
        echo 'GH013: Repository rule violations found: Required status check "gli/verdict" is expected.'
        exit 1
    }}
done
"""


class GitHub(HTTPServer):
    """Accepts statuses as GitHub does: only for commits that the repository has, and only with the token."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.rig, self.folder, self.given, self.refuses = rig, folder, dict[str, dict[str, Any]](), set[str]()


class Answers(BaseHTTPRequestHandler):
    server: GitHub

    def do_POST(self) -> None:
        _, _, _, name, _, commit = self.path.split("/")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {TOKEN}" or name in self.server.refuses:
            status = 403
        elif commit not in self.server.rig.refs(name).values():
            status = 422
        else:
            status, self.server.given[name] = 201, body | {"commit": commit}
            if body["state"] == "success":
                (self.server.folder / commit).touch()
        said = json.dumps({"url": self.path, **body}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    """Eight repositories whose main requires the status, and a promoter who may write it."""
    rig = release_rig.make(tmp_path)
    folder = tmp_path / "statuses"
    folder.mkdir()
    for name in NAMES:
        rig.hook(name, RULE.format(folder=folder))
    server = GitHub(rig, folder)
    thread = in_a_thread(server)
    rig.statuses = Statuses("gli", TOKEN, f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_landing_commits_get_the_status_and_the_rule_accepts_them(github: GitHub) -> None:
    rig = github.rig
    ended = rig.promote()
    assert ended.code == 0, ended.said
    assert {name: said["commit"] for name, said in github.given.items()} == rig.heads()
    (said,) = {(said["context"], said["state"], said["description"]) for said in github.given.values()}
    assert said[:2] == (CONTEXT, "success")
    assert said[2] == f"verified on stg, manifest {rig.journal()[1].detail['manifest']}"
    assert rig.roll_back(FIRST_TAG).code == 0
    assert {name: said["commit"] for name, said in github.given.items()} == rig.heads()


def test_without_the_status_the_rule_refuses_and_nothing_moves(github: GitHub) -> None:
    rig = github.rig
    old, rig.statuses = rig.heads(), None
    ended = rig.promote()
    assert ended.code == 1
    assert "gli_redis: main was refused (pre-receive hook declined: GH013: Repository rule violations" in ended.said
    assert rig.heads() == old and rig.leftovers() == set()


def test_a_status_refused_for_one_of_eight_moves_nothing(github: GitHub) -> None:
    rig, old = github.rig, github.rig.heads()
    github.refuses.add("gli_redis")
    ended = rig.promote()
    assert ended.code == 1
    assert ended.said.startswith("GitHub answered 403 to the status of gli_redis ")
    assert rig.names()[-2:] == ["parked", "refused"]
    assert rig.heads() == old and rig.leftovers() == set()


def test_while_github_is_down_promotions_stop_but_rollbacks_are_tried(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gli.common.statuses.time.sleep", lambda _: None)
    rig, old = github.rig, github.rig.heads()
    assert rig.promote().code == 0
    new = rig.heads()
    rig.statuses = Statuses("gli", TOKEN, "http://127.0.0.1:9")
    rig.commit("gli_redis", "stg", {"more.txt": "more\n"})
    ended = rig.promote()
    assert (ended.code, "GitHub can't be told of gli_redis" in ended.said) == (3, True), ended.said
    assert rig.heads() == new and rig.leftovers() == set()
    assert rig.roll_back(FIRST_TAG).code == 1, "here the rule still stands"
    for name in NAMES:
        (rig.bare(name) / "hooks" / "pre-receive").unlink()
    assert rig.roll_back(FIRST_TAG).code == 0
    assert {name: rig.tree(name, head) for name, head in old.items()} == rig.trees()


def test_an_environment_names_the_variable_of_the_token(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gli.release import settings

    (tmp_path / "environments.toml").write_text(
        '[[repositories]]\nname = "gli_root"\n[own]\nbranch = "stg"\n[own.git]\nremote = "x/{repository}.git"\n'
        '[own.github]\nowner = "gli"\nenvironment = "staging"\nstatus_variable = "STATUS_TOKEN"\n'
    )
    assert settings.read(tmp_path, "own").statuses is None
    monkeypatch.setenv("STATUS_TOKEN", TOKEN)
    assert settings.read(tmp_path, "own").statuses == Statuses("gli", TOKEN, "https://api.github.com")
    file = tmp_path / "environments.toml"
    file.write_text(file.read_text().replace('owner = "gli"\n', ""))
    with pytest.raises(UsageError, match="a `github` table has no `owner`; write whose"):
        settings.read(tmp_path, "own")
