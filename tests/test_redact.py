"""No secret leaves the run, in any form."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import zlib
from textwrap import wrap
from urllib.parse import quote, quote_plus

import pytest

from conftest import Project, sampled
from gli.report import terminal
from gli.report.redact import Redactor, carried, disarmed
from gli.report.secret_places import MASK

CANARY = 'c4n4ry/+"s3cret&é'
FORMS = {
    "as it is": CANARY,
    "in JSON": json.dumps(CANARY),
    "in a URL's path": quote(CANARY),
    "in a query": quote_plus(CANARY),
    "fully quoted": quote(CANARY, safe=""),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "in HTML": html.escape(CANARY),
    "as Python writes it": repr(CANARY),
    "in JSON in JSON": json.dumps(json.dumps(CANARY))[1:-1],
    "in hexadecimal digits": CANARY.encode().hex(),
    "in wrapped base64": base64.encodebytes(("x" * 50 + f"password={CANARY} " * 3).encode()).decode().strip(),
    "as a Windows program writes it": CANARY.encode("utf-16-le").decode("latin-1"),
    "in JSON of PHP": json.dumps(CANARY).replace("/", "\\/"),
    "in hexadecimal digits apart": CANARY.encode().hex(":"),
    "as a list of bytes": str([*CANARY.encode()])[1:-1],
    "base64 without padding": base64.urlsafe_b64encode(CANARY.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_known_value_is_hidden_in_every_form(form: str) -> None:
    hidden = Redactor([CANARY]).text(f"before {FORMS[form]} after")
    if form == "in wrapped base64":  # words before the value stay, in part
        hidden = re.sub(r"[*A-Za-z0-9\n]{12,}", MASK, hidden)
    assert re.sub(r"['\"\\]", "", hidden) == f"before {MASK} after"
    assert FORMS[form].strip('"') not in hidden


@pytest.mark.parametrize(
    "form",
    [
        "a\\u003d\\u0026\\u003cb5/c",
        "a\\u003D\\u0026\\u003Cb5/c",
        "a&#x3D;&#x26;&#x3C;b5&#x2F;c",
        "a=3D&<b5/c",
        "a=&#38;&#60;b5/c",
    ],
)
def test_a_value_with_signs_is_hidden_as_other_programs_escape_them(form: str) -> None:
    assert Redactor(["a=&<b5/c"]).text(f"saw {form} here") == f"saw {MASK} here"


WORDY = "hunter22/Canary+Word"
SPELT = {
    "split over two lines": f"{WORDY[:9]}\n    {WORDY[9:]}",
    "at the end of a terminal's line": f"{WORDY[:9]}\r\n{WORDY[9:]}",
    "as two texts that a program joins": f'"{WORDY[:9]}" + "{WORDY[9:]}"',
    "as a text of YAML that goes on": f'"{WORDY[:9]}\\\n  {WORDY[9:]}"',
    "a sign on each line": "\n".join(WORDY),
    "as a list of its signs": str([*WORDY]),
    "in a table of Markdown": "|".join(WORDY),
    "in capitals": WORDY.upper(),
    "in small letters": WORDY.lower(),
    "backwards": WORDY[::-1],
    "each sign escaped for JSON": "".join(f"\\u{ord(c):04x}" for c in WORDY),
    "each sign escaped for JSON in capitals": "".join(f"\\u{ord(c):04X}" for c in WORDY),
    "each sign escaped for ES6": "".join(f"\\u{{{ord(c):x}}}" for c in WORDY),
    "each sign escaped for Python": "".join(f"\\x{ord(c):02x}" for c in WORDY),
    "each sign escaped for C": "".join(f"\\{ord(c):03o}" for c in WORDY),
    "each sign escaped for HTML": "".join(f"&#{ord(c)};" for c in WORDY),
    "each sign escaped for HTML in hexadecimal": "".join(f"&#x{ord(c):x};" for c in WORDY),
    "each sign escaped for a URL": "".join(f"%{ord(c):02x}" for c in WORDY),
    "each sign escaped for a URL twice": "".join(f"%25{ord(c):02x}" for c in WORDY),
    "each sign escaped for mail": "".join(f"={ord(c):02X}" for c in WORDY),
    "as code points": " ".join(f"U+{ord(c):04X}" for c in WORDY),
    "as bytes of C": ", ".join(f"0x{ord(c):02x}" for c in WORDY),
    "as a dump": re.sub("(....)", r"\1 ", WORDY.encode().hex()),
    "as hexadecimal digits of UTF-16": WORDY.encode("utf-16-le").hex(),
    "as hexadecimal digits of UTF-16 the other way": WORDY.encode("utf-16-be").hex(" "),
    "a letter escaped for JSON": f"\\u{ord(WORDY[0]):04x}{WORDY[1:]}",
    "each second letter escaped for HTML": "".join(f"&#{ord(c)};" if n % 2 else c for n, c in enumerate(WORDY)),
    "escaped for HTML in another escape": "".join(f"&amp;#{ord(c):04d};" for c in WORDY),
    "escaped for Python in JSON": "".join(f"\\\\x{ord(c):02x}" if n % 2 else c for n, c in enumerate(WORDY)),
    "in two colours": f"{WORDY[:9]}\x1b[0m\x1b[1;31m{WORDY[9:]}",
    "in two colours in JSON": json.dumps(f"{WORDY[:9]}\x1b[31m{WORDY[9:]}"),
    "around a link for a terminal": f"{WORDY[:9]}\x1b]8;;http://a\x07{WORDY[9:]}",
    "around a line end in JSON": json.dumps(f"{WORDY[:9]}\r\n{WORDY[9:]}"),
    "around a tag": f"{WORDY[:9]}</b><i class=x>{WORDY[9:]}",
    "around spaces that nobody sees": "\u200b".join(WORDY),
    "in Korean text": f"는{WORDY}입니다",
    "as octal numbers": str([oct(b) for b in WORDY.encode()]),
    "as numbers of three digits": " ".join(f"{b:03}" for b in WORDY.encode()),
    "in bits": " ".join(f"{b:08b}" for b in WORDY.encode()),
    "each sign escaped for CSS": "".join(f"\\{ord(c):06x}" for c in WORDY),
    "as signs of SQL": "||".join(f"chr({ord(c)})" for c in WORDY),
    "in the other base32": base64.b32hexencode(WORDY.encode()).decode(),
    "in base32": base64.b32encode(WORDY.encode()).decode(),
    "in base32 between other words": base64.b32encode(f"as {WORDY} is".encode()).decode().lower(),
    "in base64 that is split": re.sub("(.{7})", r"\1\n", base64.b64encode(f"as {WORDY} is".encode()).decode()),
    "its signs escaped for LDAP": "".join(c if c.isalnum() else f"\\{ord(c):02x}" for c in WORDY),
    "its signs escaped for CSS": "".join(c if c.isalnum() else f"\\{ord(c):x} " for c in WORDY),
    "its signs escaped for a mail": "".join(c if c.isalnum() else f"={ord(c):02X}" for c in WORDY),
    "its signs escaped for JavaScript": "".join(c if c.isalnum() else f"%u{ord(c):04X}" for c in WORDY),
    "its signs by their names": WORDY.replace("/", "&sol;").replace("+", "&plus;"),
    "around signs that HTML names": "&zwnj;".join(WORDY),
    "around the number of a sign that nobody sees": "&#8203;".join(WORDY),
    "around a comment": f"{WORDY[:9]}<!-- x -->{WORDY[9:]}",
    "written over other signs": "x\b".join(WORDY),
    "in wide letters": "".join(chr(ord(c) + 0xFEE0) for c in WORDY),
    "split in a frame": f"│ {WORDY[:9]} │\n│ {WORDY[9:]} │",
    "split where a program cut it": f"{WORDY[:9]}…\n…{WORDY[9:]}",
    "in gzip": base64.b64encode(gzip.compress(f"as\n{WORDY}\nis".encode())).decode(),
    "in zlib": base64.urlsafe_b64encode(zlib.compress(f"as {WORDY} is".encode())).decode(),
    "in gzip beside much": base64.b64encode(gzip.compress(b" " * 300_000 + WORDY.encode())).decode(),
}


@pytest.mark.parametrize("form", SPELT)
def test_a_known_value_is_hidden_however_it_is_spelt_or_split(form: str) -> None:
    hidden = Redactor([WORDY]).text(f"saw {SPELT[form]} here")
    left = hidden.replace(MASK, "").removeprefix("saw ").removesuffix(" here").strip("\"'\\[]=&#; \n|+-/")
    assert MASK in hidden and hidden.startswith("saw ") and hidden.endswith(" here")
    assert len(left) <= 14 if " between " in form or "split" in form else len(left) <= 4, hidden


@pytest.mark.parametrize(
    "text", ["hunter is at 22, and Canary has a Word", "68 75 6e 74 65 72", "u0068, u0075", "H4sIAAAA"]
)
def test_what_only_looks_like_a_part_of_a_value_stays(text: str) -> None:
    assert Redactor([WORDY]).text(text) == text


def test_a_value_at_the_cut_end_of_a_text_is_hidden_in_each_form() -> None:
    redactor = Redactor([WORDY])
    for form in (WORDY, WORDY.encode().hex(), quote(WORDY, safe=""), base64.b64encode(WORDY.encode()).decode()):
        assert redactor.text(f"saw {form[: len(form) // 2 + 2]}") == f"saw {MASK}"
        assert redactor.text(f"saw {form[: len(form) // 2 - 2]}") != f"saw {MASK}"


@pytest.mark.parametrize("length", [14, 15, 16])
@pytest.mark.parametrize("before", range(9))
def test_a_value_that_is_split_is_hidden_wherever_it_stands(length: int, before: int) -> None:
    value = "hunterCanaryWord"[:length]
    text = "-".join("q" * before + value + "zz")
    assert Redactor([value]).text(text) == "q-" * before + MASK + "-z-z"


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_value_is_hidden_in_base64_of_bytes_that_are_no_text(before: int, encoding: str) -> None:
    whole = base64.b64encode(b"\xff\xfe\xfa\xfb"[:before] + CANARY.encode(encoding) + b"\x80\x81").decode()
    shown = Redactor([CANARY]).text(whole)
    assert MASK in shown and len(shown) < 14


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
        ("client_secret: hunter22 in a file", "client_secret: *** in a file"),
        ("glpat-" + "a1" * 10 + " was sent", "*** was sent"),
        ("npm_" + "a1" * 18 + " was sent", "*** was sent"),
        ("sk_live_" + "a1" * 12 + " was sent", "*** was sent"),
        ("AIza" + "a1" * 17 + "b was sent", "*** was sent"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl was sent", "*** was sent"),
        ("saw postgresql%3A%2F%2Fapp%3Ahunter22%40db%2Fgli", "saw ***"),
        (f"saw {base64.b64encode(b'password=hunter22').decode()}", "saw ***"),
        (r"postgres:\/\/app:hunter22@db", r"postgres:\/\/***@db"),
        ("password&#61;hunter22 was sent", "password&#61;*** was sent"),
        ("https:\\u002f\\u002fapp:hunter22@h", "https:\\u002f\\u002f***@h"),
        ("pass\x1b[1mword=hunter22 was sent", "pass\\u001b[1mword=*** was sent"),
        (
            "expected Vary: Cookie, Origin; saw secret stg/gli/api",
            "expected Vary: Cookie, Origin; saw secret stg/gli/api",
        ),
    ],
)
def test_an_unknown_password_is_hidden_too(text: str, hidden: str) -> None:
    assert Redactor().text(text) == hidden


def test_a_redacted_document_stays_valid() -> None:
    document = {"message": f"x {CANARY}", CANARY: [CANARY, 3, None, {"deep": CANARY}]}
    hidden = Redactor([CANARY]).document(document)
    assert CANARY not in json.dumps(hidden, ensure_ascii=False)
    assert hidden == {"message": "x ***", "***": ["***", 3, None, {"deep": "***"}]}


def test_redacted_text_is_an_exact_str() -> None:
    class Leaky(str):
        """A subclass of str, which must not leave a worker."""

    assert type(Redactor().text(Leaky("x"))) is str


def test_a_short_value_does_not_mask_ordinary_words() -> None:
    assert Redactor(["gli"]).text("stg-gli-api") == "stg-gli-api"


LEAKS = ("assert", "raise", "print", "parameter")


@pytest.mark.parametrize(
    ("how", "workers"), [*((how, "") for how in LEAKS), *sampled([(how, "-n2") for how in LEAKS], every=4)]
)
def test_a_secret_leaked_by_a_check_appears_in_no_sink(project: Project, how: str, workers: str) -> None:
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


TOKEN = "import os, pytest, warnings\ntoken = os.environ['GITHUB_TOKEN']\n"
BY_PYTEST = {
    "a warning": ("", "def test_first_check(target): warnings.warn(token + '\\n::error::x\\x1b[2K')\n"),
    "a reason to end": ("", "def test_first_check(target): pytest.exit(token)\n"),
    "a module": ("", "raise ImportError(token)\n"),
    "a failure of pytest": ("def pytest_runtest_logreport(): raise OSError(token)\n", ""),
}


@pytest.mark.parametrize("how", sampled([*BY_PYTEST], every=2))
def test_a_secret_in_what_pytest_itself_prints_is_hidden(project: Project, how: str) -> None:
    conftest, checks = BY_PYTEST[how]
    project.write("conftest.py", TOKEN + conftest)
    if checks:
        project.checks(f"{TOKEN}{checks}def test_second_check(target): pass\n")
    ran = project.run("-rA", "--tb=short", "--junitxml=own.xml", env={"GITHUB_TOKEN": CANARY})
    written = ran.output + (project.root / "own.xml").read_text()
    assert MASK in written
    assert not re.search("s3cret&|\x1b|^::", written, re.MULTILINE), written


WORDS = ("passed", "failed", "verdict", "reasons", "first-check", "pre-deploy", "internet", "partial", "observation")


@pytest.mark.parametrize("word", sampled(WORDS, every=3))
def test_a_secret_equal_to_a_word_of_the_verdict_does_not_damage_it(project: Project, word: str) -> None:
    project.write("conftest.py", PROBE)
    project.checks(
        "def test_first_check(target, seen_one): pass\n"
        f"def test_second_check(target): assert False, 'saw {word} here'\n"
    )
    ran = project.run("--phase=pre-deploy", env={"GITHUB_TOKEN": word})
    assert (ran.code, ran.last_line, "Traceback" in ran.output) == (1, "VERDICT own: NO-GO", False), ran.output
    assert "WARNING" not in ran.output
    assert ran.verdict is not None and ran.folder is not None
    assert ran.verdict["counts"] == {"failed": 1, "passed": 1}
    assert {c["id"]: c["message"] for c in ran.verdict["checks"]}["second-check"] == "saw *** here"
    header, fact = map(json.loads, (ran.folder / "facts.jsonl").read_text().splitlines())
    assert (header["environment"], fact["probe"], fact["observation"]["text"]) == ("own", "seen_one", "it is ***")
    again = project.run("--phase=pre-deploy", f"--replay={ran.folder / 'facts.jsonl'}", env={"GITHUB_TOKEN": word})
    assert again.verdict is not None and again.verdict["counts"] == {"failed": 1, "passed": 1}


def test_the_kind_of_no_go_is_readable_whatever_is_a_secret(project: Project) -> None:
    ran = project.run("-k", "second", "-n2", env={"PGPASSWORD": "partial"})
    assert ran.verdict is not None
    assert ran.verdict["held_by"][0]["kind"] == "partial"
    assert ran.verdict["reasons"][0] == "***: 1 of 2 cases were selected"


PROBE = """
import os
from gli.observe.engine.observation import Observation
from gli.observe.engine.probe import Observer, probe
from gli.run.plugin import fixture_for

class Seen(Observation):
    text: str

@probe(deadline=30)
async def seen_one(observer: Observer, service: object) -> Seen:
    return Seen(text="it is " + os.environ["GITHUB_TOKEN"])

seen = fixture_for(seen_one)
"""


LOGGING = {
    "the message": "log.warning(dsn)",
    "an argument": "log.info('as %s', dsn)",
    "wrong arguments": "log.info('as', dsn)",
    "an exception": """
    try: raise OSError(dsn)
    except OSError: log.exception("no")""",
    "an answer, at DEBUG": "logging.getLogger('botocore.parsers').debug('hunter22canary')",
}


@pytest.mark.parametrize("what", sampled([*LOGGING], every=2))
def test_no_secret_is_logged(project: Project, what: str) -> None:
    body = "import logging; log = logging.getLogger('x'); dsn = 'postgresql://app:hunter22canary@db/gli'"
    how = f"\n    {LOGGING[what].strip()}"
    project.checks(f"def test_first_check(target):\n    {body}{how}\ndef test_second_check(target): pass\n")
    file = project.root / "log.txt"
    for shown in ("--log-cli-level=DEBUG", "-olog_cli=true", "-n1"):
        ran = project.run("-s", shown, "--log-level=DEBUG", f"--log-file={file}", "--log-file-level=DEBUG")
        assert ran.last_line == "VERDICT own: GO", ran.output
        assert "unter22canary" not in ran.output + file.read_text()
        assert ("***" in file.read_text()) == ("DEBUG" not in what)


def test_the_credentials_of_the_run_s_own_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "GLI_STATUS_TOKEN", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, f"hunter22-{name}")
        assert Redactor(carried()).text(f"saw hunter22-{name}") == "saw ***"


def test_a_short_value_is_hidden_where_it_stands_alone() -> None:
    assert Redactor(["k3y"]).text("saw k3y, not stg-k3y") == "saw ***, not stg-k3y"


def test_terminal_control_characters_are_escaped() -> None:
    assert Redactor().text("a\x1b[2Kb\x07\u202ec\tok") == "a\\u001b[2Kb\\u0007\\u202ec\tok"


def test_no_line_is_a_ci_runner_command(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(["  ::error::pwned", "##[error]pwned", "a :: b"])
    assert capsys.readouterr().out == "  : :error::pwned\n# #[error]pwned\na :: b\n"


def test_endless_percent_encoding_is_hidden_and_terminates() -> None:
    assert Redactor().text("%" + "25" * 5_000) == MASK


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_secret_inside_wrapped_base64_is_hidden(end: str) -> None:
    lines = wrap(base64.b64encode(b"some words, " * 9 + b"password=hunter2-hunter2").decode(), 64)
    assert len(lines) > 1
    assert Redactor().text(f"see:{end}{end.join(lines)}") == f"see:{end}{MASK}"


def test_many_encoded_parts_are_told_apart() -> None:
    """Only those that hold a secret are hidden, also where a part holds several lines."""
    plain, hidden, lines = (quote(t) for t in ("a b", "password=hunter2 x", "one\ntwo password=hunter2"))
    assert Redactor().text(f"{plain} {hidden} {plain}") == f"{plain} {MASK} {plain}"
    assert Redactor().text(f"{plain} {hidden} {lines}") == f"{plain} {MASK} {MASK}"


@pytest.mark.parametrize("form", [form for form in FORMS if form != "in wrapped base64"])
def test_half_of_a_value_at_the_end_of_a_cut_text_is_hidden(form: str) -> None:
    text = re.sub(r"^[\\\"']+", "", FORMS[form])
    assert Redactor([CANARY]).text("before " + text[: len(text) * 2 // 3]) == f"before {MASK}"


def test_a_value_of_six_characters_is_hidden_inside_a_word_and_a_shorter_one_is_not() -> None:
    assert Redactor(["abcdef", "ghijk"]).text("xabcdefx xghijkx") == f"x{MASK}x xghijkx"


def test_the_end_of_a_text_that_is_less_than_half_of_a_value_stays() -> None:
    assert Redactor(["0123456789abcdef"]).text("see 0123456") == "see 0123456"
    assert Redactor(["0123456789abcdef"]).text("see 01234567") == f"see {MASK}"
    assert Redactor(["0123456789abcdef"]).text("01234567012345678") == f"01234567{MASK}"


ORDINARY = b"only some ordinary words >>> ???"


@pytest.mark.parametrize(
    "text",
    [
        quote(ORDINARY),
        quote(quote(ORDINARY)),
        base64.b64encode(ORDINARY).decode(),
        base64.b64encode(b"\xff" * 30).decode(),
    ],
)
def test_ordinary_text_in_an_encoding_stays(text: str) -> None:
    assert Redactor(["s3cretvalue"]).text(f"see {text} here") == f"see {text} here"


PASSWORD = b"password=hunter2>>>???"


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(PASSWORD).decode(),
        base64.urlsafe_b64encode(PASSWORD).decode(),
        base64.b64encode(base64.b64encode(PASSWORD)).decode(),
        base64.b64encode(base64.b64encode(base64.b64encode(PASSWORD))).decode(),
        quote(base64.b64encode(PASSWORD), safe=""),
        quote(quote(quote(PASSWORD))),
    ],
)
def test_an_unknown_password_in_an_encoding_is_hidden(text: str) -> None:
    assert Redactor().text(f"see {text} here") == f"see {MASK} here"


def test_what_a_key_calls_a_password_is_hidden_whatever_it_is() -> None:
    assert Redactor().document({"password": "abc", "name": "abc", "n": [1]}) == {
        "password": MASK,
        "name": "abc",
        "n": [1],
    }


LONG = {
    "a URL that begins nowhere": "a" * 200_000 + " ://",
    "percent signs": "a" * 200_000 + "%zz",
    "tokens that do not end": "-eyJ" * 50_000,
    "names without a value": "token" * 40_000 + " =",
    "headers in headers": "x-" * 100_000 + "token",
    "cookies in cookies": "cookie:" * 30_000,
    "lines of base64": ("A" * 64 + "\n") * 3_000,
}


@pytest.mark.parametrize("kind", LONG)
def test_redaction_time_is_linear_in_the_text(kind: str) -> None:
    """A quadratic algorithm would take minutes here and exceed the test's time limit."""
    assert len(Redactor(["s3cretvalue"]).text(LONG[kind])) > 0


def test_a_text_leads_no_terminal_to_the_beginning_of_a_line() -> None:
    assert disarmed("no\rVERDICT: GO\r\n") == "no\\u000dVERDICT: GO\r\n"


BESIDE = ["", "%25", "%zz", "가", "".join(f"%{n:02X}" for n in range(33, 90))]


@pytest.mark.parametrize("other", BESIDE, ids=range(len(BESIDE)))
def test_other_escapes_hide_no_secret(other: str) -> None:
    """Few escapes are replaced in another way than many, or than those beside a percent sign that begins none."""
    assert Redactor(["sword/fish"]).text(f"sw%6Frd%2Ffish {other}") == f"{MASK} {other}"


def test_the_shortest_base64_that_is_looked_into() -> None:
    """16 characters in a row, and lines of 48."""
    assert Redactor().text(base64.b64encode(b"pwd=hunter22").decode()) == MASK
    whole = base64.b64encode(b"x" * 30 + b" passw" + b"ord=hunter22").decode()
    assert Redactor().text(f"{whole[:48]}\n{whole[48:]}") == MASK


def test_each_of_several_encoded_parts_is_decoded_alone() -> None:
    parts = [base64.b64encode(part).decode() for part in (b"hello world!", b"pwd=hunter22", b"hello there!")]
    assert Redactor().text(" ".join(parts)) == f"{parts[0]} {MASK} {parts[2]}"
    harmless = " ".join(base64.b64encode(part).decode() for part in (b"1234567 pwd=", b"hello there!"))
    assert Redactor().text(harmless) == harmless


def test_a_value_that_lacks_its_last_letter_at_the_end_of_a_cut_text_is_hidden() -> None:
    assert Redactor(["swordfish-of-it"]).text("swordfish-of-i") == MASK
