"""No secret leaves, in whatever form it travels."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from conftest import Project
from gli.report.redact import Redactor

CANARY = 'c4n4ry/+"s3cret&é'
FORMS = {
    "as it is": CANARY,
    "in JSON": json.dumps(CANARY),
    "in a URL's path": quote(CANARY),
    "in a query": quote_plus(CANARY),
    "fully quoted": quote(CANARY, safe=""),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 without padding": base64.urlsafe_b64encode(CANARY.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_known_value_is_hidden_in_every_form(form: str) -> None:
    hidden = Redactor([CANARY]).text(f"before {FORMS[form]} after")
    assert FORMS[form].strip('"') not in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://app:hunter22@db:5432/gli", "postgresql://***@db:5432/gli"),
        ("rediss://:hunter22@cache/0", "rediss://***@cache/0"),
        ("host=db password=hunter22 dbname=gli", "host=db password=*** dbname=gli"),
        ("Authorization: Bearer abcdef123456.x", "Authorization: Bearer ***"),
        ("X-Api-Key: hunter22, Accept: */*", "X-Api-Key: ***, Accept: */*"),
        ("Set-Cookie: sessionid=hunter22; Path=/", "Set-Cookie: ***"),
        ("GET /v1?page=2&access_token=hunter22#top", "GET /v1?page=2&access_token=***#top"),
        ("AWS_SECRET_ACCESS_KEY=hunter22 aws s3 ls", "AWS_SECRET_ACCESS_KEY=*** aws s3 ls"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl was sent", "*** was sent"),
        ("saw postgresql%3A%2F%2Fapp%3Ahunter22%40db%2Fgli", "saw ***"),
        (f"saw {base64.b64encode(b'password=hunter22').decode()}", "saw ***"),
        (
            "expected Vary: Cookie, Origin; saw secret stg/gli/api",
            "expected Vary: Cookie, Origin; saw secret stg/gli/api",
        ),
    ],
)
def test_a_password_that_nobody_knew_of_is_hidden_too(text: str, hidden: str) -> None:
    assert Redactor().text(text) == hidden


def test_a_document_is_hidden_whole_and_stays_one() -> None:
    document = {"message": f"x {CANARY}", CANARY: [CANARY, 3, None, {"deep": CANARY}]}
    hidden = Redactor([CANARY]).document(document)
    assert CANARY not in json.dumps(hidden, ensure_ascii=False)
    assert hidden == {"message": "x ***", "***": ["***", 3, None, {"deep": "***"}]}


def test_what_leaves_is_an_exact_str() -> None:
    class Leaky(str):
        """What a report must not carry out of a worker."""

    assert type(Redactor().text(Leaky("x"))) is str


def test_a_short_value_does_not_mask_ordinary_words() -> None:
    assert Redactor(["gli"]).text("stg-gli-api") == "stg-gli-api"


@pytest.mark.parametrize("workers", ["", "-n2"])
@pytest.mark.parametrize("how", ["assert", "raise", "print", "parameter"])
def test_a_secret_that_a_check_lets_slip_appears_in_no_sink(project: Project, how: str, workers: str) -> None:
    dsn = f"postgresql://app:{'h' + 'unter22canary'}@db/gli"
    slips = {
        "assert": f"assert False, {dsn!r}",
        "raise": f"raise OSError({dsn!r})",
        "print": f"print({dsn!r}); assert False, 'no'",
        "parameter": f"dsn = {dsn!r}; assert dsn == 1, dsn",
    }
    project.checks(f"def test_first_check(target): {slips[how]}\ndef test_second_check(target): pass\n")
    ran = project.run("-rA", "--tb=short", *filter(None, [workers]))
    assert ran.code == 1
    assert "unter22canary" not in ran.output
    for path in (project.root / "reports").rglob("*"):
        assert not path.is_file() or "unter22canary" not in path.read_text()
