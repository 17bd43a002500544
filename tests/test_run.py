"""The main job against a real sandbox: verdict, facts, replay, workers, identity, latency."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Ran, Sandbox, run, run_forked, sampled
from sandbox.overlay import toml

NO_METADATA = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for temporary files of the run `healthy`."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def healthy(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Ran:
    """One run of a healthy sandbox, which several tests read."""
    return sandbox.verify(reports=tmp_path_factory.mktemp("healthy"), env={"TMPDIR": str(temporary)})


def verdict_of(ran: Ran) -> dict[str, Any]:
    assert ran.verdict is not None
    return ran.verdict


def test_a_healthy_sandbox_is_go(healthy: Ran) -> None:
    assert (healthy.code, healthy.last_line) == (0, "VERDICT sandbox: GO")


@pytest.mark.usefixtures("healthy")
def test_a_run_leaves_no_temporary_files(temporary: Path) -> None:
    assert list(temporary.iterdir()) == []


def test_the_verdict_has_the_fields_of_the_contract(healthy: Ran) -> None:
    verdict = verdict_of(healthy)
    assert set(verdict) == {
        *(
            "schema",
            "run",
            "replayed",
            "verdict",
            "reasons",
            "held_by",
            "environment",
            "phase",
            "vantage",
            "cell",
            "merged",
            "region",
            "reported",
            "started",
            "finished",
            "expires",
            "suite",
        ),
        *("account", "manifest", "served", "counts", "requests", "checks", "root_causes", "checklist", "since_last"),
        *(
            "since_pre_deploy",
            "digest",
            "ends_by",
            "facts_sha256",
            "machine",
            "machine_s",
            "clock_behind_s",
            "variables",
            "coverage",
        ),
    }
    assert verdict["schema"] == 1
    assert (verdict["environment"], verdict["phase"], verdict["vantage"]) == ("sandbox", None, "vpc")
    assert len(verdict["manifest"]) == 8
    assert {tuple(sorted(part)) for part in verdict["manifest"].values()} == {("branch", "commit", "tree")}
    assert set(verdict["suite"]) == {"version", "revision", "catalogue_sha256", "files", "plugins"}
    assert datetime.fromisoformat(verdict["started"]) < datetime.fromisoformat(verdict["finished"])
    assert datetime.fromisoformat(verdict["finished"]) < datetime.fromisoformat(verdict["expires"])
    check = {"id", "target", "outcome", "severity", "phase", "blocked_by", "message", "hint", "attempts", "duration_s"}
    assert {frozenset(c) for c in verdict["checks"]} == {
        frozenset(check | {"expected", "seen", "facts", "waiver", "before_deploy", "cells"})
    }
    assert verdict["account"] == "123456789012"


def test_every_service_reports_the_head_of_the_branch(healthy: Ran) -> None:
    verdict = verdict_of(healthy)
    assert verdict["served"]["api"] == verdict["manifest"]["gli_api-server"]["commit"]
    assert verdict["served"]["user"] == verdict["manifest"]["gli_user-frontend"]["commit"]


def test_every_fact_of_a_check_is_recorded_once(healthy: Ran) -> None:
    assert healthy.folder is not None
    header, *records = [json.loads(line) for line in (healthy.folder / "facts.jsonl").read_text().splitlines()]
    names = [f"{r['probe']}[{r['target']}]" if r["target"] else r["probe"] for r in records]
    assert header["environment"] == "sandbox"
    assert len(names) == len(set(names))
    behind = {fact for c in verdict_of(healthy)["checks"] for fact in c["facts"]}
    assert behind <= set(names)


def test_no_secret_of_the_environment_is_in_any_sink(sandbox: Sandbox, healthy: Ran) -> None:
    assert healthy.folder is not None
    written = [path.read_text() for path in healthy.folder.iterdir()]
    for text in (healthy.output, *written):
        assert [v for v in secrets_of(sandbox) if v in text] == []


def test_no_secret_of_the_environment_is_logged(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    asked = ["-s", "-olog_cli=true", "--log-cli-level=DEBUG", f"--log-file={file}", "--log-file-level=DEBUG"]
    ran = sandbox.verify_often(*asked, reports=tmp_path / "reports")
    assert ran.last_line == "VERDICT sandbox: GO"
    for text in (ran.output, file.read_text()):
        assert "INFO     pika" in text or shutil.which("rabbitmq-server") is None, "a library that logs at INFO"
        assert [v for v in secrets_of(sandbox) if v in text] == []


def secrets_of(sandbox: Sandbox) -> set[str]:
    """Every secret value of the environment."""
    manager, public = sandbox.aws("secretsmanager"), ("username", "host", "port", "dbname", "vhost", "tls")
    documents = [
        json.loads(manager.get_secret_value(SecretId=s["Name"])["SecretString"])
        for s in manager.list_secrets()["SecretList"]
    ]
    values = {str(v) for d in documents for k, v in d.items() if k not in public}
    assert len(values) >= 6
    return values


def test_latest_points_at_the_newest_run(healthy: Ran) -> None:
    assert healthy.folder is not None
    assert (healthy.folder.parent / "latest").resolve() == healthy.folder


def test_workers_give_the_same_verdict_with_the_same_requests(sandbox: Sandbox, healthy: Ran, tmp_path: Path) -> None:
    shared = sandbox.verify_often("-n2", reports=tmp_path)
    assert shared.last_line == "VERDICT sandbox: GO"
    assert verdict_of(shared)["counts"] == verdict_of(healthy)["counts"]
    one, other = requests_of(healthy), requests_of(shared)
    assert set(one) == set(other)
    retried = {fact for fact in one if None in (one[fact], other[fact])}
    assert {f: r for f, r in one.items() if f not in retried} == {f: r for f, r in other.items() if f not in retried}


def test_nothing_is_imported_before_the_fork_that_only_a_run_needs() -> None:
    heavy = ("gli.observe.aws", "gli.observe.data", "gli.observe.edge", "gli.judge", "pydantic", "botocore", "httpx")
    code = f"import sys, gli.run.plugin, conftest; print([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_worker_may_ask_for_a_probe_that_only_the_worker_has_imported(sandbox: Sandbox, tmp_path: Path) -> None:
    ran = sandbox.verify("--phase=on-call", "-k", "db_credentials_valid", "-n1", reports=tmp_path)
    assert (ran.code, ran.outcomes("passed")) == (0, {"db-credentials-valid"}), ran.output


def requests_of(ran: Ran) -> dict[str, dict[str, int] | None]:
    """The number of requests for each fact; None for a fact with a retry, which happens on a busy machine."""
    assert ran.folder is not None
    _, *records = [json.loads(line) for line in (ran.folder / "facts.jsonl").read_text().splitlines()]
    return {f"{r['probe']}[{r['target']}]": r["requests"] if r["attempts"] == 1 else None for r in records}


def test_a_replay_judges_without_a_network(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.ask("break", "database-open-to-an-address")
    try:
        recorded = sandbox.verify_often(reports=tmp_path / "recorded")
    finally:
        sandbox.ask("heal")
    assert recorded.folder is not None
    offline = run_forked(
        "--env=sandbox",
        f"--replay={recorded.folder / 'facts.jsonl'}",
        root=ROOT,
        reports=tmp_path / "offline",
        env={"GLI_SANDBOX": "none-of-that-name"},
    )
    one, other = verdict_of(recorded), verdict_of(offline)
    assert one["root_causes"] == other["root_causes"] != []
    assert [(c["id"], c["target"], c["outcome"]) for c in one["checks"]] == [
        (c["id"], c["target"], c["outcome"]) for c in other["checks"]
    ]
    assert offline.code == 1


@pytest.mark.parametrize("phase", sampled(["pre-deploy", "post-deploy"], every=2))
def test_a_phase_judges_its_own_checks(sandbox: Sandbox, tmp_path: Path, phase: str) -> None:
    ran = sandbox.verify_often(f"--phase={phase}", reports=tmp_path)
    assert ran.last_line == "VERDICT sandbox: GO"
    listed = tomllib.loads((ROOT / f"checklists/{phase}.toml").read_text())
    needed = {check for item in listed.values() for check in item.get("checks", ())}
    assert {c["id"] for c in verdict_of(ran)["checks"] if c["phase"] not in (phase, "both")} <= needed


def test_from_the_internet_private_checks_are_unknown_and_block_the_verdict(sandbox: Sandbox, tmp_path: Path) -> None:
    ran = sandbox.verify_often("--vantage=internet", reports=tmp_path)
    assert ran.code == 1
    unseen = [c for c in verdict_of(ran)["checks"] if c["outcome"] == "unknown"]
    assert {"db-credentials-valid", "redis-ping"} <= {c["id"] for c in unseen}
    assert "--vantage=vpc" in unseen[0]["message"]


def test_a_run_starts_a_sandbox_where_none_is_up_and_ends_it(tmp_path: Path) -> None:
    name = f"boot-{uuid.uuid4().hex[:6]}"
    ran = run("--env=sandbox", root=ROOT, reports=tmp_path, env={"GLI_SANDBOX": name})
    assert ran.last_line == "VERDICT sandbox: GO", ran.output
    assert "starting one for this run" in ran.output
    assert not (ROOT / ".sandbox" / name).exists()


Overlaid = Callable[..., str]


@pytest.fixture
def overlaid(sandbox: Sandbox) -> Iterator[Overlaid]:
    """Make an environment like the sandbox, with changes in the `aws` table of its overlay; returns its name."""
    made: list[Path] = []

    def overlay(**aws: str) -> str:
        tables = tomllib.loads((ROOT / ".sandbox" / sandbox.name / "environment.toml").read_text())
        tables["aws"] |= aws
        folder = ROOT / ".sandbox" / f"overlaid-{uuid.uuid4().hex[:8]}"
        made.append(folder)
        folder.mkdir()
        (folder / "environment.toml").write_text(toml(tables))
        return folder.name

    yield overlay
    for folder in made:
        shutil.rmtree(folder)


def refused(name: str, tmp_path: Path, *arguments: str) -> Ran:
    """Assert that a run without confirmed identity gives one sentence, code 4 and NO-GO, and asks nothing else."""
    env = NO_METADATA | {"GLI_SANDBOX": name}
    ran = run_forked("--env=sandbox", *arguments, root=ROOT, reports=tmp_path, env=env)
    assert ran.code == 4, ran.output
    assert "Traceback" not in ran.output
    verdict = verdict_of(ran)
    assert verdict["verdict"] == "NO-GO"
    assert set(verdict["requests"]) <= {"sts"}
    assert ran.roots == {"aws-caller-identity"}
    assert ran.outcomes("failed") == {"aws-caller-identity"}
    return ran


@pytest.mark.parametrize("workers", sampled(["-n2", ""], every=2))
def test_a_wrong_account_is_one_sentence_and_no_other_call_is_made(
    overlaid: Overlaid, tmp_path: Path, workers: str
) -> None:
    ran = refused(overlaid(account_id="210987654321"), tmp_path, *filter(None, [workers]))
    said = " ".join(ran.output.split())
    assert "wrong AWS account: [sandbox] is account 210987654321, these credentials belong to 123456789012" in said


def test_a_wrong_role_is_one_sentence(overlaid: Overlaid, tmp_path: Path) -> None:
    ran = refused(overlaid(role="arn:aws:sts::*:assumed-role/somebody-else/*"), tmp_path)
    assert "wrong AWS role: [sandbox] is verified as" in " ".join(ran.output.split())


def test_no_credentials_are_one_sentence(overlaid: Overlaid, tmp_path: Path) -> None:
    ran = refused(overlaid(credentials_file=os.devnull, profile="gone"), tmp_path)
    assert "no AWS credentials for [sandbox]: profile 'gone' gives none" in " ".join(ran.output.split())


def test_aws_out_of_reach_is_unknown_and_no_go(overlaid: Overlaid, tmp_path: Path) -> None:
    name = overlaid(endpoint_url="http://127.0.0.1:9")
    ran = run_forked("--env=sandbox", root=ROOT, reports=tmp_path, env=NO_METADATA | {"GLI_SANDBOX": name})
    assert ran.code == 1
    assert ran.outcomes("unknown") == {"aws-caller-identity"}
    assert "AWS can't be reached for sts:get_caller_identity" in " ".join(ran.output.split())
