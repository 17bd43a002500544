"""Texts that a hostile server or repository chooses: to read them takes time that grows only with their length.

An algorithm that takes the square of the length would take minutes for each of these texts.
"""

from __future__ import annotations

import time

import pytest

from gli.observe.aws import cloudwatch_alarms, ecs_tasks, logs, plain_secrets
from gli.observe.edge import bundle_names, frontend
from gli.observe.edge.bundle_secrets import told
from gli.observe.edge.http import HttpExchange
from gli.observe.release.workflow import read
from gli.observe.release.workflow_calls import Call

MOST_S = 8.0
"""Of processor time; the slowest takes a second."""
URL = "https://host/assets/index.js"
IN_A_BUNDLE = {
    "hyphens": '"assets/' + "-aaaaaa" * 150_000,
    "blanks after import": "import" + " " * 1_000_000,
    "blanks after a URL": 'new URL("a.b",' + " " * 1_000_000,
    "imports in comments": ("// " * 500 + 'import"/a.js";') * 700,
    "comments in comments": "/*" * 500_000,
    "comments that begin as they end": "/*/" * 300_000,
    "points": 'new URL("' + "a." * 500_000,
    "a name of a megabyte": '"assets/' + "a/" * 500_000 + 'x-abcdefg.js"',
    "keys that do not end": "SG." + "a" * 1_000_000,
}


@pytest.mark.parametrize("name", IN_A_BUNDLE)
def test_what_a_bundle_names_is_found_in_time(name: str) -> None:
    text, begun = IN_A_BUNDLE[name], time.process_time()
    for find in (bundle_names.imports, bundle_names.in_script, bundle_names.in_style):
        assert sum(map(len, find(URL, text)[0])) < 1_000
    bundle_names.origins(text), told(text)
    assert time.process_time() - begun < MOST_S


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["assets/page-3f2a1b.js"]', {"assets/page-3f2a1b.js"}),
        ('["assets/a/b.c-3f2a1b9d.css"]', {"assets/a/b.c-3f2a1b9d.css"}),
        ('["assets/a-b-3f2a.mjs"]', {"assets/a-b-3f2a.mjs"}),
        ('["assets/page-3f2a1.js", "assets/-3f2a1b.js", "assets/page.js", "assets/page-3f2a1b.png"]', set()),
        ('["assets/page-3f/2a1b9d.js", "assets/page-3f.2a1b9d.js"]', set()),
    ],
)
def test_chunks_are_told_from_other_names(text: str, names: set[str]) -> None:
    assert bundle_names.in_script(URL, text) == ({f"https://host/{name}" for name in names}, False)


def test_a_file_that_names_too_much_is_not_read_as_if_it_was_whole() -> None:
    many = bundle_names.MOST_NAMES + 1
    assert bundle_names.imports(URL, 'import"/a.js";' * many)[1]
    assert bundle_names.in_style(URL, "a{b:url(c)}" * many)[1]
    assert bundle_names.origins(" ".join(f"https://h{n}" for n in range(many)))[1]
    assert bundle_names.origins("https://" + "a" * 1_000)[1]
    assert not bundle_names.imports(URL, 'import"/a.js";' * 1_000)[1]


def test_a_long_base_makes_no_page_of_long_addresses() -> None:
    body = '<base href="/' + "a/" * 50_000 + '">' + "<script src=a></script>" * 4_000
    page = HttpExchange(method="GET", url=URL, status=200, headers={"content-type": "text/html"}, body=body, seconds=0)
    found = frontend.read_index(page)
    assert (found.unread, len(str(found.assets)) < 1_000) == (True, True)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
JOB = "jobs: {{deploy: {{steps: [{{run: {}}}]}}}}\n"
WORKFLOWS = {
    "anchors of anchors": (BOMB + JOB.format("*i"), "its anchors make it longer"),
    "merged anchors of anchors": (MERGED + JOB.format("x"), "its anchors make it longer"),
    "an anchor of itself": ("jobs: &a {x: *a}\n", "its anchors make it longer"),
    "lists in lists": ("[" * 100_000, "nested more than 100 levels deep"),
    "lists in lists, by lines": ("- " * 50_000, "nested more than 100 levels deep"),
    "a text of megabytes": ("x" * 2_000_000, "more than 500000 characters"),
    "expressions that do not end": (JOB.format('"' + "${{" * 150_000 + '"'), None),
    "commands that swallow": (JOB.format('"' + "|| echo " * 60_000 + '"'), None),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_hostile_workflow_is_refused_or_read_in_time(name: str) -> None:
    """libyaml's loader ends the process with a list in a list in a list, and so on."""
    (text, error), begun = WORKFLOWS[name], time.process_time()
    said = read("deploy.yml", text, {"main": ["prod"], "stg": ["stage"]}).error
    assert said is None if error is None else error in str(said)
    assert time.process_time() - begun < MOST_S


def test_a_workflow_whose_jobs_multiply_is_refused() -> None:
    jobs = "jobs:\n" + "".join(f"  j{n}:\n    uses: ./.github/workflows/w.yml\n" for n in range(50))
    called = jobs.replace("uses: ./.github/workflows/w.yml", "steps: [{run: make}]")
    found = read("deploy.yml", jobs, {"main": []}, {Call(".github/workflows/w.yml"): called})
    assert "more than 1000 jobs" in str(found.error)


def test_texts_of_aws_are_read_in_time() -> None:
    begun = time.process_time()
    for line in ("a" * 1_000_000, "'a" * 500_000, "a1" * 500_000, '"' * 999_999):
        assert len(logs._kind(line)) <= 100
    for name, value in (("_" * 60_000, "x" * 20), ("KEY", "eyJ-" * 15_000), ("KEY", "password" + " " * 60_000)):
        plain_secrets.is_secret(name, value)
    for rule in ("ALARM(" + " " * 10_000, "ALARM(x" + " " * 10_000, "ALARM(" * 2_000):
        cloudwatch_alarms._WATCHED.findall(rule)
    ecs_tasks._SICK.search("failed " * 150_000)
    assert time.process_time() - begun < MOST_S


def test_the_kinds_of_log_lines_and_the_alarms_of_a_rule_are_told() -> None:
    assert logs._kind("error for user 'bob' id=77 at /x/y: broken pipe") == "error for user … … at … broken pipe"
    assert logs._kind("can't open a file") == "can't open a file"
    found = cloudwatch_alarms._WATCHED.findall('ALARM("a b") AND OK( c-d ) OR ALARM(arn:aws:x:y)')
    assert [name.strip() for name in found] == ["a b", "c-d", "arn:aws:x:y"]
    assert ecs_tasks._SICK.search("(service api) (task 1) failed ELB health checks")
