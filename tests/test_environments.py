"""environments.toml: each mistake gets one sentence that names the file, the key and the correction."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ENVIRONMENT, ROOT, Project
from gli.common.errors import UsageError
from gli.config import environments, toml_tables


def test_the_projects_own_file_describes_its_five_environments() -> None:
    assert environments.names(ROOT) == ["dev", "prod", "sandbox", "sandbox-prod", "stg"]
    for name in environments.names(ROOT):
        environments.load(ROOT, name, overlay={})


@pytest.mark.parametrize(("real", "played"), [("stg", "sandbox"), ("prod", "sandbox-prod")])
def test_a_sandbox_extends_an_environment_with_other_addresses(real: str, played: str) -> None:
    one, other = (environments.load(ROOT, name, overlay={}) for name in (real, played))
    differs = {k for k in type(one).model_fields if getattr(one, k) != getattr(other, k)}
    assert differs == {"name", "extends", "counterpart", "provider", "overlay", "notify"}
    assert {one.counterpart, other.counterpart} in ({"prod", "sandbox-prod"}, {"stg", "sandbox"})


def test_an_overlay_is_merged_on_top() -> None:
    overlay = {"connect_to": {"stg-api.glibiz.com:443": "127.0.0.1:4443"}, "provider_pid": 1}
    sandbox = environments.load(ROOT, "sandbox", overlay=overlay)
    assert sandbox.connect_to == {"stg-api.glibiz.com:443": "127.0.0.1:4443"}
    assert sandbox.services["api"].host == "stg-api.glibiz.com"


def test_the_overlay_of_a_named_sandbox_is_found_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"overlay": ".sandbox/${GLI_SANDBOX-default}/environment.toml"}
    monkeypatch.delenv("GLI_SANDBOX", raising=False)
    assert toml_tables.overlay_path(tmp_path, tables) == tmp_path / ".sandbox/default/environment.toml"
    monkeypatch.setenv("GLI_SANDBOX", "two")
    assert toml_tables.overlay_path(tmp_path, tables) == tmp_path / ".sandbox/two/environment.toml"


BROKEN = {
    "an unknown key": (
        ENVIRONMENT + 'hots = "x"\n',
        "environments.toml: [own.services.api] hots is not a known key; mend its spelling or take it out",
    ),
    "a missing key": (
        ENVIRONMENT.replace('branch = "main"\n', ""),
        "environments.toml: [own] branch is missing; write it",
    ),
    "a wrong type": (
        ENVIRONMENT.replace('branch = "main"', "branch = 3"),
        "environments.toml: [own] branch = 3 should be a valid string; mend the value",
    ),
    "a service and a frontend of one name": (
        ENVIRONMENT + '[own.frontends.api]\nurl = "http://127.0.0.1:9"\n',
        "environments.toml: [own] has a service and a frontend that are both called 'api'; rename one of them",
    ),
    "a URL without a host": (
        ENVIRONMENT.replace("http://127.0.0.1:9", "localhost"),
        "environments.toml: [own.services.api] url = 'localhost' should be a URL with a host",
    ),
    "a repository that is not listed": (
        ENVIRONMENT.replace('repository = "app"', 'repository = "apt"'),
        "environments.toml: [own] services.api.repository is 'apt', which no [[repositories]] entry names",
    ),
    "an account that is no account": (
        ENVIRONMENT + '[own.aws]\nregion = "r"\naccount_id = "12"\n',
        "environments.toml: [own.aws] account_id = '12' should match pattern '^[0-9]{12}$'; mend",
    ),
    "an account in other digits": (
        ENVIRONMENT + '[own.aws]\nregion = "r"\naccount_id = "١٢٣٤٥٦٧٨٩٠١٢"\n',
        "environments.toml: [own.aws] account_id = '١٢٣٤٥٦٧٨٩٠١٢' should match pattern",
    ),
    "a window that ends before it begins": (
        ENVIRONMENT
        + '[own.git]\nremote = "/{repository}"\n[[own.git.freeze]]\nreason = "x"\n'
        + 'begins = "2026-12-24 00:00"\nends = "2026-12-20 00:00"\n',
        "environments.toml: [own.git.freeze.0] begins is after ends; mend one of them\n",
    ),
    "no TOML": ("[own\n", "environments.toml is not valid TOML: "),
    "a circle": (ENVIRONMENT.replace("[own]", '[own]\nextends = "own"'), "environments.toml: [own] extends itself"),
    "an unknown parent": (
        ENVIRONMENT.replace("[own]", '[own]\nextends = "nowhere"'),
        "environments.toml has no environment 'nowhere' ([own] extends it); it has: own",
    ),
}


NO_LIMITS = {
    "own.metrics": (
        "most_cpu_percent = nan",
        "most_memory_percent = 101.0",
        "window_minutes = -1",
        "least_requests = 0",
    ),
    "own.registry": ("most_critical = -1", "rollback_releases = 0"),
    "own.tls": ("block_below_days = 0", "block_below_days = 99999999999999"),
    "own.database": ("longest_transaction_s = inf", "longest_lock_wait_s = -1.0", "minimum_backup_days = 0"),
    "own.load_balancer": ("ports_open_to_the_world = [0]", "ports_open_to_the_world = [70000]"),
    "own.dns": ('resolvers = ["127.0.0.1:0"]',),
    "own.connect_to": ('"a:1" = "b:70000"', '"a" = "b:1"'),
    "own.services.api": ("heartbeat_s = 0", 'url = "https://a:99999"', 'url = "https://a:0"', 'url = "https://[::1"'),
}


@pytest.mark.parametrize(("table", "line"), [(t, line) for t, lines in NO_LIMITS.items() for line in lines])
def test_a_limit_that_would_disable_its_check_is_refused(tmp_path: Path, table: str, line: str) -> None:
    key = line.partition(" ")[0]
    whole = {"own.database": 'instance = "i"\nsecret = "s"\nverify_secret = "s"\nmigrations = "m"\ningress_from = []\n'}
    text = ENVIRONMENT.replace('url = "http://127.0.0.1:9"\n', "") if key == "url" else ENVIRONMENT
    text += "" if table == "own.services.api" else f"[{table}]\n{whole.get(table, '')}"
    text += 'name = "n"\n' if table == "own.load_balancer" else ""
    (tmp_path / "environments.toml").write_text(f"{text}{line}\n")
    with pytest.raises(UsageError, match=rf"environments\.toml: \[{table}.* should ((?!should).)*; mend the value$"):
        environments.load(tmp_path, "own", overlay={})


@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_is_one_sentence_and_exit_code_4(project: Project, case: str) -> None:
    text, sentence = BROKEN[case]
    project.write("environments.toml", text)
    ran = project.run()
    assert ran.code == 4
    assert f"ERROR: {sentence}" in ran.output
    assert "Traceback" not in ran.output
    assert len(ran.output.strip().splitlines()) == 1


def test_an_unknown_environment_names_the_known_ones(project: Project) -> None:
    ran = project.run("--env=nowhere")
    assert ran.code == 4
    assert ran.output.strip() == "ERROR: environments.toml has no environment 'nowhere'; it has: own"


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"environments\.toml is missing; run from the project's root"):
        environments.load(tmp_path, "stg")
