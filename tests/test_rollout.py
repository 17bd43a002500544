"""`--await-rollout`: a run waits for the end of a deployment before it judges, up to a time limit."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from conftest import ROOT, Ran, Sandbox, wait_for
from gli.config import environments

EARLY = {
    *("caller_identity", "confirmed_identity"),
    *("heads", "history", "release", "workflow_run", "ecs_services", "rolled_out"),
}
"""What says whom a run looks at, what is deployed, and how far that is."""
DEPLOYING = ("run-in-progress", "rollout-in-progress")


def facts(ran: Ran) -> dict[str, dict[str, Any]]:
    """The facts, by `probe[target]`."""
    assert ran.folder is not None
    lines = [json.loads(line) for line in (ran.folder / "facts.jsonl").read_text().splitlines()]
    return {f"{f['probe']}[{f['target']}]": f for f in lines if "probe" in f}


def ended(fact: dict[str, Any]) -> float:
    return began(fact) + float(fact["duration_s"])


def began(fact: dict[str, Any]) -> float:
    return datetime.fromisoformat(fact["started"]).timestamp()


def test_a_run_waits_for_workflows_then_for_ecs_and_then_observes(sandbox: Sandbox, tmp_path: Path) -> None:
    pipelines = sum(bool(r.workflow) for r in environments.load(ROOT, "sandbox").repositories)
    web, ecs = sandbox.web_requests(), sandbox.aws_requests().get("ecs", 0)

    def deployed() -> None:
        """Each step ends after it was observed in progress. Until the workflows have ended, only GitHub is asked: once
        for each pipeline, then only for the running one.
        """
        wait_for(lambda: sandbox.web_requests() - web > pipelines, "a second look at the workflow")
        sandbox.ask("heal", "run-in-progress")
        wait_for(lambda: sandbox.aws_requests().get("ecs", 0) > ecs, "a look at the rollout")
        sandbox.ask("heal", "rollout-in-progress")

    sandbox.ask("break", *DEPLOYING)
    deploying = threading.Thread(target=deployed)
    deploying.start()
    try:
        ran = sandbox.verify_often("--await-rollout=60", reports=tmp_path)
    finally:
        deploying.join()
    assert (ran.code, ran.last_line) == (0, "VERDICT sandbox: GO"), ran.output
    seen = facts(ran)
    workflow, rollout = seen["workflow_run[gli_api-server]"], seen["ecs_services[]"]
    assert workflow["attempts"] > 1
    assert ended(workflow) <= ended(rollout)
    assert seen["rolled_out[]"]["observation"] == {"unfinished": []}
    later = {name: fact for name, fact in seen.items() if fact["probe"] not in EARLY}
    assert len(later) > 100
    assert [name for name, fact in later.items() if began(fact) < ended(rollout) - 0.01] == []
    passed = {c["id"]: c["message"] for c in (ran.verdict or {})["checks"] if c["target"] == "gli_api-server"}
    assert passed["wf-run-success"] == f"passed on attempt {workflow['attempts']}"


def test_a_deployment_that_exceeds_the_time_limit_is_red(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.ask("break", *DEPLOYING)
    try:
        ran = sandbox.verify_often("--await-rollout=0.5", reports=tmp_path)
    finally:
        sandbox.ask("heal", *DEPLOYING)
    assert ran.code == 1
    assert ran.roots == {"wf-run-success", "ecs-rollout-completed"}
    unfinished = facts(ran)["rolled_out[]"]["observation"]["unfinished"]
    assert unfinished == ["gli_api-server: in_progress", "stg-gli-api: IN_PROGRESS"]
