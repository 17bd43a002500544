"""Only what environments.toml declares is asked; what is declared absent or not applicable is shown with its reason."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from conftest import ENVIRONMENT, ROOT, Project, Ran, Sandbox, row, run_forked, sampled
from gli.cli.group import main
from gli.common.errors import UsageError
from gli.config import catalogue, environment_consistency, environments
from gli.config.environments import Environment
from gli.config.parts import PARTS

WHY = "this shop has none"
NOT_APPLICABLE = """
[[own.not_applicable]]
check = "second-*"
target = "api"
reason = "the shop sells nothing twice"
owner = "Park Yuna"
"""


def another(sandbox: Sandbox, tables: str, folder: Path, *arguments: str) -> Ran:
    """A run against the sandbox as an environment `shop`, which changes these tables of the sandbox's."""
    for name in ("tests_smoke", "tests_infra", "checklists"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("conftest.py", "pytest.ini"):
        shutil.copy(ROOT / name, folder)
    overlay = f"{ROOT}/.sandbox/${{GLI_SANDBOX-default}}/environment.toml"
    own = f'\n[shop]\nextends = "sandbox"\noverlay = "{overlay}"\n{tables}'
    (folder / "environments.toml").write_text((ROOT / "environments.toml").read_text() + own)
    return run_forked(
        "--env=shop", *arguments, root=folder, reports=folder / "reports", env={"GLI_SANDBOX": sandbox.name}
    )


@pytest.mark.parametrize("part", sampled(PARTS[1:], every=16))
def test_an_environment_without_a_part_is_asked_nothing_that_needs_it(
    sandbox: Sandbox, tmp_path: Path, part: str
) -> None:
    origin = 'services.websocket.origin = "https://stg.glibiz.com"\n' if part == "frontends" else ""
    ran = another(sandbox, f'{origin}[shop.{part}]\nabsent = "{WHY}"\n', tmp_path)
    assert ran.verdict is not None, ran.output
    checks = [c for c in ran.verdict["checks"] if c["id"] != "page-boots"]  # no browser here
    # Without a counterpart, the roles of production in the same account belong to nobody: a warning.
    assert ran.red == ({"iam-github-oidc"} if part == "counterpart" else set())
    assert {c["target"] for c in checks if c["outcome"] == "not-applicable"} == {part}
    assert {c["message"] for c in checks if c["outcome"] == "not-applicable"} == {WHY}
    assert ran.code == 0, ran.output


def test_a_declared_exemption_is_shown_in_every_report_and_holds_no_verdict(project: Project) -> None:
    project.checks("def test_first_check(target): pass\ndef test_second_check(target): assert False, 'red'\n")
    project.write("environments.toml", ENVIRONMENT + NOT_APPLICABLE)
    ran = project.run("-rs")
    assert ran.code == 0, ran.output
    assert ran.folder is not None and ran.verdict is not None
    said = "the shop sells nothing twice (declared by Park Yuna)"
    assert ran.outcomes("not-applicable") == {"second-check"}
    assert ran.verdict["counts"] == {"not-applicable": 1, "passed": 1}
    assert f"SKIPPED [1] tests_smoke/test_own.py:2: {said}" in ran.output
    assert said in " ".join(ran.output.partition("= GO:")[2].split())
    for report in ("report.md", "report.html"):
        assert said in (ran.folder / report).read_text(encoding="utf-8"), report
    skipped = ElementTree.parse(ran.folder / "junit.xml").getroot().findall(".//skipped")
    assert [element.get("message") for element in skipped] == [said]


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (
            NOT_APPLICABLE.replace("second-*", "third-*"),
            "[[own.not_applicable]] third-*[api] covers no case of own; mend its spelling or take it out",
        ),
        (NOT_APPLICABLE.replace('owner = "Park Yuna"', ""), "[own.not_applicable.0] owner is missing; write it"),
        (NOT_APPLICABLE.replace('"Park Yuna"', '" "'), "owner = ' ' should"),
        ('[own.tls]\nca_file = "nowhere.pem"\n', "nowhere.pem is no file; write it, or mend the key"),
        ("[own.cache]\nabsent = true\n", "[own] cache.absent must say why, in a few words"),
        ('[own.absent]\ncache = "none"\n', 'declare a part absent in its own table, as in [ENV.cache] absent = "why"'),
    ],
)
def test_a_declaration_that_is_not_right_stops_the_run_with_one_sentence(
    project: Project, tables: str, sentence: str
) -> None:
    project.write("environments.toml", ENVIRONMENT + tables)
    ran = project.run()
    assert ran.code == 4
    assert sentence in " ".join(ran.output.split())
    assert "Traceback" not in ran.output


def test_an_inherited_row_may_cover_nothing(project: Project) -> None:
    """The environment that wrote the row needs it; the one that extends it has no such case."""
    base = ENVIRONMENT.replace("[own", "[base") + NOT_APPLICABLE.replace("[own", "[base").replace('"api"', '"page"')
    project.write("environments.toml", base + '[own]\nextends = "base"\n')
    ran = project.run()
    assert ran.code == 0, ran.output
    assert ran.verdict is not None and ran.verdict["coverage"]["not_applicable"] == []


def test_a_verdict_in_which_nothing_applies_is_no_go(project: Project) -> None:
    project.write("environments.toml", ENVIRONMENT + NOT_APPLICABLE.replace("second-*", "*"))
    ran = project.run()
    assert ran.code == 1
    assert ran.verdict is not None
    assert ran.verdict["reasons"] == ["nothing to judge: every case of this phase is declared not applicable"]


def test_an_empty_reason_removes_an_inherited_absence(project: Project) -> None:
    absent = '[base]\nbranch = "main"\n[base.frontends]\nabsent = "none"\n'
    page = '[own]\nextends = "base"\n[own.frontends]\nabsent = ""\nweb = { url = "http://127.0.0.1:9" }\n'
    project.write("environments.toml", absent + page)
    project.rows("first-check", "second-check", each="frontends")
    ran = project.run()
    assert ran.verdict is not None, ran.output
    assert {(c["target"], c["outcome"]) for c in ran.verdict["checks"]} == {("web", "passed")}


def test_gli_checks_says_what_is_asked_what_is_not_and_why(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("environments.toml", ENVIRONMENT + NOT_APPLICABLE + f'[own.cache]\nabsent = "{WHY}"\n')
    rows = (project.root / "checklists/checks.toml").read_text()
    third = rows[: rows.index("[second-check]")].replace("first-check", "third-check")
    keyed = third.replace('each = "apis"', 'each = "apis"\nneeds = ["version_path", "environment.git"]')
    absent = third.replace("third-check", "fourth-check").replace('"apis"', '"cache"')
    project.write(
        "checklists/checks.toml", rows + keyed + absent + third.replace("third", "fifth").replace("apis", "zone")
    )
    for phase in ("pre-deploy", "post-deploy"):
        text = (project.root / f"checklists/{phase}.toml").read_text()
        project.write(
            f"checklists/{phase}.toml",
            text.replace('"second-check"', '"second-check", "third-check", "fourth-check", "fifth-check"'),
        )
    monkeypatch.chdir(project.root)
    said = CliRunner().invoke(main, ["checks", "--env", "own"])
    assert said.exit_code == 0, said.output
    assert [" ".join(line.split()) for line in said.output.splitlines()] == [
        "first-check asked of api",
        "second-check not applicable to api: the shop sells nothing twice (declared by Park Yuna)",
        f"fourth-check not applicable to cache: {WHY}",
        "third-check not asked of api: it needs version_path",
        "fifth-check not asked: it needs [own.dns] zone",
        "1 of 5 checks are asked, 1 cases; 2 checks are left out",
    ]
    found = json.loads(CliRunner().invoke(main, ["checks", "--env", "own", "--json", "third-check"]).output)
    assert found == [
        {
            "check": "third-check",
            "part": "services",
            "asked": [],
            "not_applicable": {},
            "lacks": {"api": "version_path"},
        }
    ]


def test_what_a_check_needs_is_told_by_keys_that_can_be_written() -> None:
    """Some needs follow from other keys, such as a name that only the code knows."""
    written = {key for table in _tables(Environment) for key in table.model_fields}
    bare = Environment(name="own", branch="main", vantage="vpc")
    told = {
        told
        for check in catalogue.load(ROOT).checks.values()
        for need in check.needs
        if (told := check.model_copy(update={"needs": (need,), "iam": ()}).lacks(object(), bare)) is not None
    }
    words = {"or", "a", "two", "three", "names", "in", "with", "frontend"}
    assert {word for one in told for word in re.findall(r"[a-z_]+", one.partition("=")[0])} <= written | words


def _tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model of a table, and those of all tables in it."""
    yield model
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield from _tables(inner)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def test_two_services_of_one_repository_do_not_explain_each_other(project: Project) -> None:
    worker = '[own.services.worker]\nurl = "http://127.0.0.1:9"\nrepository = "app"\n'
    project.write("environments.toml", ENVIRONMENT + worker.replace("127.0.0.1", "localhost"))
    symptom = row("second-check", causes='["first-check"]')
    project.write("checklists/checks.toml", f"{row('first-check')}\n{symptom}")
    check = "def test_{}_check(target): assert target.name != '{}', 'red'\n"
    project.checks(check.format("first", "api") + check.format("second", "worker"))
    assert project.run().roots == {"first-check", "second-check"}
    project.checks(check.format("first", "api") + check.format("second", "api"))
    assert project.run().roots == {"first-check"}


WORKER = """
[shop]
branch = "main"
[shop.aws]
region = "eu-central-1"
[shop.load_balancer]
name = "shop"
[shop.services.web]
url = "https://shop.example"
[shop.services.mails]
{keys}
[shop.frontends.page]
url = "https://shop.example"
"""


def test_a_worker_is_asked_for_its_tasks_and_never_for_an_answer(tmp_path: Path) -> None:
    keys = 'ecs = { cluster = "shop", service = "shop-mails", container = "mails" }'
    (tmp_path / "environments.toml").write_text(WORKER.format(keys=keys))
    environment = environments.load(tmp_path, "shop")
    cases = [case for case in catalogue.load(ROOT).cases(environment, None) if case.target == "mails"]
    assert {"ecs-running-count", "ecs-rollout-completed", "iam-execution-role"} <= {case.check.id for case in cases}
    assert not {case.check.layer for case in cases} & {"http", "tls", "websocket", "load-balancer"}
    assert not [case for case in cases if case.check.id.startswith(("api-", "alb-", "metric-"))]
    assert environment.hosts == ("shop.example",) and not list(environment_consistency.objections(environment))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "url is missing; only a worker has none, and needs its ecs table"),
        (
            'health_path = "/up"\necs = { cluster = "shop", service = "shop-mails", container = "mails" }',
            "health_path needs a url",
        ),
        (
            'url = "https://a.test"\necs = { cluster = "shop", service = "shop-mails", container = "mails" }',
            "ecs.port is missing; write the port of the container that gets its requests",
        ),
    ],
)
def test_a_service_is_called_or_a_worker(tmp_path: Path, keys: str, said: str) -> None:
    (tmp_path / "environments.toml").write_text(WORKER.format(keys=keys))
    with pytest.raises(UsageError, match=re.escape(said)):
        environments.load(tmp_path, "shop")
