"""Who gets which notification, and how often: through real HTTP and SMTP servers on loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from report_rig import HOOK, Hook
from sample_verdicts import DENIED, INGRESS, MEND_INGRESS, SAMPLES, STALE, reasons_of, root, verdict

from conftest import ENVIRONMENT, ROOT, Project
from gli.config import environments
from gli.config.parts import Notify
from gli.judge.verdict import Verdict
from gli.report import notify, sinks

NO_GO, GO = SAMPLES["blocked"][1], SAMPLES["go"][1]
MAIL = "GLI_TEST_MAIL"


class Inbox(Message):
    """The mailbox of a mail server."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.got.append(message_from_bytes(message.as_bytes(), policy=policy.default))


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    box = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    monkeypatch.setenv(
        MAIL, f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&mode=insecure&from=gli@example.com&to=release@example.com"
    )
    yield box
    server.stop()


def tell(sample: Verdict, folder: Path, *variables: str, language: str = "en", **settings: int) -> list[str]:
    receivers = Notify(url_variables=variables or (HOOK,), **settings)
    return notify.verdict(sample, receivers, folder, report="reports/stg/x/report.html", language=language)


def no_go(*lines: Any) -> Verdict:
    return verdict(*lines, reasons=reasons_of(*lines), root_causes=tuple(root(line) for line in lines))


def test_a_no_go_reaches_slack_like_hooks_and_mail_once_each(hook: Hook, inbox: Inbox, tmp_path: Path) -> None:
    assert tell(NO_GO, tmp_path, HOOK, MAIL) == []
    assert tell(NO_GO, tmp_path, HOOK, MAIL) == []
    (posted,), (mail,) = hook.got, inbox.got
    assert posted["body"]["title"] == "NO-GO: stg, pre-deploy: sg-db-ingress[stg-gli-database]"
    assert posted["body"]["type"] == "failure"
    assert (mail["To"], mail["Subject"]) == ("release@example.com", posted["body"]["title"])
    for text in (posted["body"]["message"], mail.get_body(("plain",)).get_content()):
        assert "seen: 5432 open to 203.0.113.7/32" in text
        assert f"to do: {MEND_INGRESS}" in text
        assert "1 failed, 3 blocked, 13 passed" in text
        assert "report: reports/stg/x/report.html" in text


@pytest.mark.parametrize("kind", ["slack", "mattermost"])
def test_a_slack_webhook_gets_slacks_json(
    kind: str, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apprise.plugins.slack

    tokens = "T0AAAAAAA/B0BBBBBBB/cccccccccccccccccccccccc"
    if kind == "slack":
        monkeypatch.setattr(apprise.plugins.slack.NotifySlack, "webhook_url", f"http://127.0.0.1:{hook.port}/services")
        monkeypatch.setenv(HOOK, f"https://hooks.slack.com/services/{tokens}")
    else:
        monkeypatch.setenv(HOOK, f"mmost://127.0.0.1:{hook.port}/cccccccccccccccccccccccccc")
    assert tell(NO_GO, tmp_path) == []
    (posted,) = hook.got
    assert posted["path"] == (f"/services/{tokens}" if kind == "slack" else "/hooks/cccccccccccccccccccccccccc")
    assert "sg-db-ingress[stg-gli-database]" in json.dumps(posted["body"])
    assert {"text", "attachments"} & set(posted["body"])


def test_only_new_roots_are_notified(hook: Hook, tmp_path: Path) -> None:
    for sample in (no_go(INGRESS), no_go(INGRESS), no_go(INGRESS, STALE), no_go(STALE, INGRESS), no_go(DENIED)):
        assert tell(sample, tmp_path) == []
    assert [p["body"]["title"].partition("deploy: ")[2] for p in hook.got] == [
        "sg-db-ingress[stg-gli-database]",
        "sg-db-ingress[stg-gli-database] and spa-assets-resolve[user]",
        "alarm-resources-watched[stg-gli-]",
    ]


def test_after_the_quiet_time_the_same_roots_are_notified_again(hook: Hook, tmp_path: Path) -> None:
    tell(NO_GO, tmp_path)
    tell(NO_GO, tmp_path, quiet_minutes=0)
    assert len(hook.got) == 2


def test_a_recovery_is_notified_once_and_only_after_a_no_go(hook: Hook, tmp_path: Path) -> None:
    for sample in (GO, NO_GO, GO, GO, NO_GO, GO):
        assert tell(sample, tmp_path) == []
    assert [p["body"]["type"] for p in hook.got] == ["failure", "success", "failure", "success"]
    recovery = hook.got[1]["body"]
    assert recovery["title"] == "RECOVERED: stg, pre-deploy"
    assert "before it: sg-db-ingress[stg-gli-database]" in recovery["message"]


def test_phases_are_notified_independently(hook: Hook, tmp_path: Path) -> None:
    tell(NO_GO, tmp_path)
    tell(GO.model_copy(update={"phase": "post-deploy"}), tmp_path)
    assert [p["body"]["type"] for p in hook.got] == ["failure"]


def test_notifications_above_the_hourly_limit_are_held_back_and_reported(hook: Hook, tmp_path: Path) -> None:
    assert tell(no_go(INGRESS), tmp_path, most_per_hour=2) == []
    assert tell(no_go(STALE), tmp_path, most_per_hour=2) == []
    assert tell(no_go(DENIED), tmp_path, most_per_hour=2) == [
        f"not notified through {HOOK}: 2 messages in the last hour"
    ]
    assert tell(GO, tmp_path, most_per_hour=2) == []
    assert [p["body"]["type"] for p in hook.got] == ["failure", "failure", "success"]


@pytest.mark.parametrize("sample", ["partial"])
def test_a_partial_run_sends_no_notification(sample: str, hook: Hook, tmp_path: Path) -> None:
    assert tell(SAMPLES[sample][1], tmp_path) == []
    assert tell(NO_GO.model_copy(update={"phase": "on-call"}), tmp_path) == []
    assert hook.got == []


@pytest.mark.parametrize("sample", ["incomplete", "refused"])
def test_a_run_that_did_not_reach_its_checks_is_notified_as_no_go(sample: str, hook: Hook, tmp_path: Path) -> None:
    tell(SAMPLES[sample][1], tmp_path)
    tell(SAMPLES[sample][1], tmp_path)
    assert len(hook.got) == 1


def test_a_failed_notification_is_reported_and_retried_in_the_next_run(
    hook: Hook, inbox: Inbox, tmp_path: Path
) -> None:
    hook.status = 500
    (problem,) = tell(NO_GO, tmp_path, HOOK, MAIL)
    assert problem.startswith(f"not notified through {HOOK}: ")
    assert "500" in problem
    hook.status = 200
    assert tell(NO_GO, tmp_path, HOOK, MAIL) == []
    assert (len(hook.got), len(inbox.got)) == (2, 1)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "the environment variable is not set"),
        ("nonsense://x", "Unparseable URL ***"),
        ("json://hunter22secret:hunter33secret@127.0.0.1:9/a/token-of-many-characters", "127.0.0.1"),
    ],
)
def test_a_url_that_does_not_work_is_one_sentence_without_secrets(
    url: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOOK, url)
    (problem,) = tell(NO_GO, tmp_path)
    assert why in problem
    assert "hunter" not in problem
    assert "token-of-many" not in problem


def test_two_parallel_runs_notify_once(hook: Hook, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: tell(NO_GO, tmp_path), range(4))) == [[], [], [], []]
    assert len(hook.got) == 1


def test_a_damaged_state_file_is_reported_and_everybody_is_notified_again(hook: Hook, tmp_path: Path) -> None:
    tell(NO_GO, tmp_path)
    (tmp_path / notify.STATE).write_text("{")
    (problem,) = tell(NO_GO, tmp_path)
    assert "could not be read" in problem
    assert len(hook.got) == 2


def test_a_deployment_is_notified_once_and_a_failure_raises_nothing(hook: Hook, tmp_path: Path) -> None:
    environment = environments.load(ROOT, "prod").model_copy(update={"notify": Notify(url_variables=(HOOK,))})
    for _ in range(2):
        assert sinks.tell_deployment(environment, "deploy-20260131-090000", "8 commits", tmp_path, language="en") == []
    (posted,) = hook.got
    assert posted["body"]["title"] == "DEPLOYED: prod, deploy-20260131-090000"
    assert posted["body"]["message"] == "8 commits"
    (tmp_path / "file").write_text("")
    (problem,) = sinks.tell_deployment(environment, "deploy-2", "8 commits", tmp_path / "file", language="en")
    assert problem.startswith("notified.json could not be written: ")
    nobody = environment.model_copy(update={"notify": None})
    assert sinks.tell_deployment(nobody, "deploy-3", "8 commits", tmp_path, language="en") == []


def test_a_message_can_be_korean(hook: Hook, tmp_path: Path) -> None:
    tell(NO_GO, tmp_path, language="ko")
    assert "할 일: " in hook.got[0]["body"]["message"]


def test_no_url_or_token_stays_behind(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "token-of-many-characters"
    monkeypatch.setenv(HOOK, f"json://somebody:hunter22secret@127.0.0.1:{hook.port}/{token}")
    leaky = no_go(INGRESS.model_copy(update={"message": f"expected 200, saw hunter22secret and {token}"}))
    assert tell(leaky, tmp_path) == []
    assert hook.got[0]["path"] == f"/{token}"
    left = "".join(p.read_text() for p in tmp_path.iterdir()) + json.dumps(hook.got[0]["body"])
    assert "hunter22secret" not in left
    assert token not in left


# ── a run ──


FAILS = "def test_first_check(target): assert False, 'expected 200, saw 503'\ndef test_second_check(target): pass\n"
PASSES = "def test_first_check(target): pass\ndef test_second_check(target): pass\n"


def test_only_a_failed_run_and_its_recovery_notify(project: Project, hook: Hook) -> None:
    project.write("environments.toml", f'{ENVIRONMENT}\n[own.notify]\nurl_variables = ["{HOOK}"]\n')
    env = {HOOK: f"json://127.0.0.1:{hook.port}/hook"}
    project.checks(FAILS)
    assert project.run("-k", "second", env=env).code == 1
    assert hook.got == []
    red = project.run(env=env)
    assert (red.code, len(hook.got)) == (1, 1)
    assert red.folder is not None
    assert project.run(f"--replay={red.folder / 'facts.jsonl'}", env=env).code == 1
    project.checks(PASSES)
    green = project.run(env=env)
    assert (green.code, "not notified" in green.output) == (0, False)
    assert [p["body"]["type"] for p in hook.got] == ["failure", "success"]


def test_a_failing_notifier_changes_no_verdict_and_is_reported(project: Project) -> None:
    project.write("environments.toml", f'{ENVIRONMENT}\n[own.notify]\nurl_variables = ["{HOOK}", "{MAIL}"]\n')
    project.checks(FAILS)
    ran = project.run(env={HOOK: "json://127.0.0.1:9/x"})
    assert (ran.code, ran.last_line) == (1, "VERDICT own: NO-GO")
    said = [line for line in ran.output.splitlines() if line.startswith("WARNING: not notified")]
    assert [line.split()[4] for line in said] == [f"{HOOK}:", f"{MAIL}:"]


@pytest.mark.parametrize(
    ("url", "begins", "part"),
    [
        ("json://127.0.0.1:{}/hook", b"HTTP/1.1 200 OK\r\n\r\n", b" " * 100_000),
        (
            "mailto://127.0.0.1:{}?smtp=127.0.0.1&mode=insecure&from=a@b.example&to=c@d.example",
            b"",
            b"220-x\r\n" * 10_000,
        ),
    ],
    ids=["HTTP", "mail"],
)
def test_the_answer_of_a_receiver_is_read_to_its_limit(
    url: str, begins: bytes, part: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    def serve(listening: socket.socket) -> None:
        nonlocal sent
        connection, _ = listening.accept()
        with suppress(OSError), connection:
            if begins:  # a mail server speaks first
                connection.recv(65_536)
            connection.sendall(begins)
            while sent < 500_000_000:
                connection.sendall(part)
                sent += len(part)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=(listening,), daemon=True)
        serving.start()
        monkeypatch.setenv(HOOK, url.format(listening.getsockname()[1]))
        problems = notify.deployment("v1", "text", "stg", Notify(url_variables=(HOOK,)), tmp_path)
        serving.join(60)
    assert [problem.partition(":")[0] for problem in problems] == [f"not notified through {HOOK}"]
    assert sent < 50_000_000


def test_a_receiver_that_drips_is_named_and_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not ended.wait(0.1):
            connection.sendall(b" ")

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            connection.recv(65_536)
            drip(connection)

    monkeypatch.setattr(notify, "_ANSWER_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        monkeypatch.setenv(HOOK, f"json://127.0.0.1:{listening.getsockname()[1]}/hook")
        problems = notify.deployment("v1", "text", "stg", Notify(url_variables=(HOOK,)), tmp_path)
        ended.set()
    assert problems == [f"not notified through {HOOK}: no whole answer within 2 s"]
