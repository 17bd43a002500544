"""Each answer of GitHub becomes a fact, or a reason why there is no fact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from served import in_a_thread

from gli.config.environments import Environment
from gli.config.parts import Github, Repository
from gli.observe.edge.http import HttpExchange
from gli.observe.engine.observation import Unobserved
from gli.observe.engine.observatory import Observatory
from gli.observe.engine.probe import Observer
from gli.observe.release.git_refs import Release
from gli.observe.release.github_runs import WorkflowRun, runs_in, workflow_run


def answer(status: int | None, body: str = "{}", **headers: str) -> HttpExchange:
    error = None if status else "connection refused"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpExchange(method="GET", url="x", status=status, headers=sent, body=body, seconds=0.1, error=error)


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        (answer(None), "unreachable"),
        (answer(401), "access-denied"),
        (answer(404), "access-denied"),
        (answer(403, x_ratelimit_remaining="0"), "throttled"),
        (answer(429), "throttled"),
        (answer(403, retry_after="60"), "throttled"),
        (answer(403, '{"message": "You have exceeded a secondary rate limit."}'), "throttled"),
        (answer(403, '{"message": "Resource not accessible by personal access token"}'), "access-denied"),
        (answer(301), "error"),
        (answer(500), "error"),
        (answer(200, "<html>"), "error"),
        (answer(200, '{"workflow_runs": null}'), "error"),
    ],
)
def test_an_answer_without_runs_is_unknown(seen: HttpExchange, cause: str) -> None:
    with pytest.raises(Unobserved) as raised:
        runs_in(seen, "app")
    assert raised.value.unknown.cause == cause


def test_no_run_is_a_fact() -> None:
    assert runs_in(answer(200, json.dumps({"total_count": 0, "workflow_runs": []})), "app") == []


def test_the_last_answer_before_the_limit_is_an_answer() -> None:
    assert runs_in(answer(200, '{"workflow_runs": []}', x_ratelimit_remaining="0"), "app") == []


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[int, dict[str, str], object]]]:
    """GitHub on loopback: path with its query to (status, headers, document)."""
    answers: dict[str, tuple[int, dict[str, str], object]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, document = answers.get(self.path, (404, {}, {"message": "Not Found"}))
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    in_a_thread(server)
    answers["url"] = (0, {}, f"http://127.0.0.1:{server.server_port}")
    yield answers
    server.shutdown()
    server.server_close()


def run(number: int, **fields: object) -> dict[str, object]:
    known = {"path": ".github/workflows/deploy.yml", "run_number": number, "status": "completed"}
    return {**known, "conclusion": "success", "html_url": f"run {number}", **fields}


def newest(github: dict[str, tuple[int, dict[str, str], object]], monkeypatch: pytest.MonkeyPatch) -> WorkflowRun:
    url = str(github["url"][2])

    async def known(*_: object) -> Release:
        return Release(branch="main", commits={"app": "c0ffee"})

    monkeypatch.setattr(Observer, "see", known)
    table = {"owner": "gli", "environment": "staging", "api_url": url}
    repository = Repository(name="app", workflow=".github/workflows/deploy.yml")
    environment = Environment(name="own", branch="main", github=Github(**table), repositories=(repository,))
    observatory = Observatory(environment)
    try:
        return observatory.wait(workflow_run, repository)
    finally:
        observatory.close()


FIRST = "/repos/gli/app/actions/runs?head_sha=c0ffee&branch=main&event=push&per_page=10"


def test_a_run_behind_those_of_other_workflows_is_found(
    github: dict[str, tuple[int, dict[str, str], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [run(n, path=".github/workflows/lint.yml") for n in range(10)]
    link = {"Link": f'<{github["url"][2]}/page2>; rel="next", <x>; rel="last"'}
    github[FIRST] = (200, link, {"workflow_runs": others})
    github["/page2"] = (200, {}, {"workflow_runs": [run(11)]})
    assert newest(github, monkeypatch).url == "run 11"


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.2:9/page2", "https://127.0.0.1/page2", "//127.0.0.2/page2"])
def test_the_token_goes_to_no_other_host_for_the_next_page(
    github: dict[str, tuple[int, dict[str, str], object]], monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    github[FIRST] = (200, {"Link": f'<{elsewhere}>; rel="next"'}, {"workflow_runs": []})
    with pytest.raises(Unobserved, match="GitHub's next page is on another host"):
        newest(github, monkeypatch)


def test_a_run_of_another_commit_is_none_of_this_one(
    github: dict[str, tuple[int, dict[str, str], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was asked for."""
    github[FIRST] = (200, {}, {"workflow_runs": [run(2, head_sha="decaf"), run(1, head_sha="c0ffee")]})
    assert newest(github, monkeypatch).url == "run 1"


@pytest.mark.parametrize("reset", ["9" * 400, "\u0669", "-1", "99999999999"])
def test_the_end_of_a_limit_that_is_no_time_is_left_out(reset: str) -> None:
    with pytest.raises(Unobserved, match="its rate limit is used up"):
        runs_in(answer(403, x_ratelimit_remaining="0", x_ratelimit_reset=reset), "app")


def test_a_repository_that_was_renamed_is_asked_under_its_new_name(
    github: dict[str, tuple[int, dict[str, str], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    github[FIRST] = (301, {"Location": f"{github['url'][2]}/repositories/7/actions/runs"}, {"message": "Moved"})
    github["/repositories/7/actions/runs"] = (200, {}, {"workflow_runs": [run(3)]})
    assert newest(github, monkeypatch).conclusion == "success"


def test_a_large_answer_is_read_completely(
    github: dict[str, tuple[int, dict[str, str], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    github[FIRST] = (200, {}, {"workflow_runs": [run(1, display_title="x" * 500_000)]})
    assert newest(github, monkeypatch).conclusion == "success"


def test_an_unknown_conclusion_is_unknown(
    github: dict[str, tuple[int, dict[str, str], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    github[FIRST] = (200, {}, {"workflow_runs": [run(1, conclusion="abandoned")]})
    with pytest.raises(Unobserved, match="is 'abandoned', a value that this suite does not know"):
        newest(github, monkeypatch)
