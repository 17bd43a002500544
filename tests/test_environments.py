"""environments.toml: what is wrong in it is said in one sentence that names file, key and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ENVIRONMENT, ROOT, Project
from gli import environments
from gli.errors import UsageError


def test_the_projects_own_file_describes_its_five_environments() -> None:
    assert environments.names(ROOT) == ["dev", "prod", "sandbox", "sandbox-prod", "stg"]
    for name in environments.names(ROOT):
        environments.load(ROOT, name, overlay={})


@pytest.mark.parametrize(("real", "played"), [("stg", "sandbox"), ("prod", "sandbox-prod")])
def test_a_sandbox_is_what_it_extends_with_other_addresses(real: str, played: str) -> None:
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
    assert environments.overlay_path(tmp_path, tables) == tmp_path / ".sandbox/default/environment.toml"
    monkeypatch.setenv("GLI_SANDBOX", "two")
    assert environments.overlay_path(tmp_path, tables) == tmp_path / ".sandbox/two/environment.toml"


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
        "environments.toml: [own.aws] account_id = '12' should be",
    ),
    "no TOML": ("[own\n", "environments.toml is not valid TOML: "),
    "a circle": (ENVIRONMENT.replace("[own]", '[own]\nextends = "own"'), "environments.toml: [own] extends itself"),
    "an unknown parent": (
        ENVIRONMENT.replace("[own]", '[own]\nextends = "nowhere"'),
        "environments.toml has no environment 'nowhere' ([own] extends it); it has: own",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_one_sentence_and_exit_code_4(project: Project, case: str) -> None:
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
