"""A worker that asks the controlling process while that ends: it gets a clear error, without a traceback."""

from __future__ import annotations

import threading

import pytest

from conftest import Project
from gli.config import environments
from gli.observe.data.vantage import configuration
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.worker_sharing import Remote, Share


@pytest.mark.parametrize("begins", [True, False])
def test_a_worker_that_asks_after_the_end_gets_a_clear_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    environment = environments.load(project.root, "own")
    observatory = Observatory(environment)
    share = Share(observatory, lambda fact: None, lambda group, target: None)
    worker = Remote(share.ticket, group_of=lambda target: "")
    observatory.close()
    if begins:
        worker.begin(configuration)
    with pytest.raises(Unobserved) as told:
        worker.wait(configuration)
    words = "the observing process is gone" if begins else "the run has ended, and observes nothing more"
    assert words in told.value.unknown.message
    share.close()
    for thread in threading.enumerate():
        if thread.name == "share-worker":
            worker.close()
            thread.join(timeout=5)
    assert died == []
