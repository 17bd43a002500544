"""An environment that is many times as large as GLI's: its description, and what is asked of its copies."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from conftest import ROOT
from gli.config import environments
from gli.config.environments import Environment
from sandbox import scale
from sandbox.overlay import IDLE_HOLD_S, holding, toml


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("grown")
    scale.grow(ROOT, found, 3)
    return found


@pytest.mark.parametrize("name", ["sandbox", "sandbox-prod"])
def test_a_grown_environment_has_copies_of_everything_with_names_of_their_own(folder: Path, name: str) -> None:
    small, large = (environments.load(root, name, overlay={}) for root in (ROOT, folder))
    for kind in ("services", "frontends", "repositories", "hosts"):
        assert len(getattr(large, kind)) == 3 * len(getattr(small, kind)), kind
    for part in ("queues", "dead_letter_queues"):
        found = getattr(large.broker, part)
        assert len(set(found)) == len(found) == 3 * len(getattr(small.broker, part))
    buckets = [f.bucket for f in large.frontends.values()]
    assert len(set(buckets)) == len(buckets)
    assert {s.log_group for s in large.services.values()} <= set(large.logs.groups if large.logs else ())


def test_a_copy_of_a_quiet_session_need_not_hold_for_the_time_of_a_real_load_balancer(folder: Path) -> None:
    overlay = tomllib.loads(toml(holding(environments.load(folder, "sandbox", overlay={}))))
    large = environments.load(folder, "sandbox", overlay=overlay)
    held = [s.idle_hold_s for s in large.services.values() if s.idle_hold_s is not None]
    assert held == [IDLE_HOLD_S] * 3


def test_a_service_is_asked_for_the_frontends_that_call_it(folder: Path) -> None:
    def callers(environment: Environment, service: str) -> list[str]:
        return [f.name for f in environment.callers(environment.services[service])]

    large = environments.load(folder, "sandbox", overlay={})
    assert callers(large, "api-2") == ["user-2", "admin-2"]
    assert callers(environments.load(ROOT, "sandbox", overlay={}), "api") == [
        "user",
        "admin",
    ]  # none says whom it calls
    nobody = {name: f.model_copy(update={"calls": ()}) for name, f in large.frontends.items()}
    uncalled = large.model_copy(update={"frontends": nobody})
    assert callers(uncalled, "api") == [*large.frontends]  # a service that nobody calls is asked as if all called it
