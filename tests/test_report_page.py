"""The page of a run and the index of runs in a real browser: they show the right content and load no other file."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sample_verdicts import SAMPLES, check, root, verdict
from served import in_a_thread

from conftest import BROWSER, ROOT, Project, sampled
from gli.common.sentences import saw
from gli.config import catalogue, environments
from gli.judge.outcome import Outcome
from gli.judge.verdict import Reason, Verdict
from gli.observe.engine.observation import Record, Unknown
from gli.report import html, index
from gli.report.topology import Topology, topology

ARTEFACTS = Path(__file__).parent / "artefacts"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
BEGUN = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
browses = pytest.mark.skipif(not BROWSER, reason="Chromium is not installed: apt-get install chromium-headless-shell")
WAIT_MS = 15_000  # for a busy machine; a working page needs far less
expect.set_options(timeout=WAIT_MS)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open a page from a file. At the end of the test it must have no error and must have loaded no other file."""
    pages: dict[str, Page] = {}
    errors: list[str] = []
    requests: list[str] = []
    opened: list[str] = []

    def new(**options: Any) -> Page:
        page = browser.new_page(**options)
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
        return page

    def open_(text: str | Path, fragment: str = "", at: str = "2026-01-31T10:00:00Z", **options: Any) -> Page:
        file = text if isinstance(text, Path) else tmp_path / f"page-{len(opened)}.html"
        if isinstance(text, str):
            file.write_text(text, encoding="utf-8")
        page = pages.setdefault(repr(options), pages.get(repr(options)) or new(**options))
        page.clock.set_fixed_time(at)
        opened.append(file.as_uri())
        page.goto(file.as_uri() + fragment)
        return page

    yield open_
    for page in pages.values():
        page.close()
    assert errors == []
    assert set(requests) == set(opened)


@cache
def drawn(name: str = "stg") -> Topology:
    environment = environments.load(ROOT, name, overlay={})
    return topology(environment, catalogue.load(ROOT).cases(environment, None))


def records(of: Verdict) -> list[Record]:
    """A record for each fact that the checks use."""
    facts = dict.fromkeys(fact for line in of.checks for fact in line.facts)
    return [
        Record(
            probe=fact.partition("[")[0],
            target=fact.partition("[")[2].removesuffix("]"),
            started=BEGUN + timedelta(milliseconds=20 * n),
            duration_s=0.5,
            phases_s={"connect": 0.1, "tls": 0.1, "first_byte": 0.2},
            requests={"http": 1},
            observation={"fact": fact},
        )
        for n, fact in enumerate(facts)
    ]


def page_of(name: str, language: str = "en") -> str:
    sample = SAMPLES[name][1]
    proves = {"alb-active": "The load balancer is active."}
    return html.page(sample, records(sample), drawn(), language, proves=proves)


def shown(page: Page) -> list[str]:
    """The ids of the visible rows."""
    rows = "els => els.filter(e => e.checkVisibility()).map(e => e.id)"
    return list(page.locator(".check").evaluate_all(rows))


@browses
@pytest.mark.parametrize("language", sampled(["en", "ko"], every=2))
def test_every_kind_of_verdict_opens_without_an_error_and_asks_for_nothing(open_page: Open, language: str) -> None:
    for name, (_, sample) in SAMPLES.items():
        page = open_page(page_of(name, language))
        expect(page.locator("h1")).to_contain_text(f"{sample.verdict} {sample.environment}")
        expect(page.locator(".root")).to_have_count(len(sample.root_causes))
        expect(page.locator(".check")).to_have_count(len(sample.checks))
        expect(page.locator(".item")).to_have_count(len(sample.checklist))
        assert page.locator("html").get_attribute("lang") == language


@browses
def test_a_root_shows_expected_and_seen_and_unfolds_its_blocked_checks(open_page: Open) -> None:
    page = open_page(page_of("no-go"))
    first = page.locator(".root").first
    for text in ("to take only", "5432 open to 203.0.113.7/32", "Restore the security group"):
        expect(first).to_contain_text(text)
    symptom = first.get_by_role("link", name="api-deep-health[api]")
    expect(symptom).to_be_hidden()
    first.get_by_text("Explains (3)").click()
    symptom.click()
    row = page.locator("[id='api-deep-health[api]']")
    expect(row).to_have_attribute("open", "")
    expect(row.locator("summary").first).to_be_focused()
    row.get_by_role("link", name="sg-db-ingress[stg-gli-database]").click()
    expect(page.locator("[id='sg-db-ingress[stg-gli-database]']")).to_have_attribute("open", "")


@browses
def test_outcomes_and_words_narrow_the_checks(open_page: Open) -> None:
    page = open_page(page_of("no-go"))
    before = shown(page)
    failed = page.get_by_role("button", name="failed 3")
    failed.click()
    expect(failed).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("status")).to_have_text("3 of 17 checks")
    assert {label.partition("[")[0] for label in shown(page)} == {
        *("sg-db-ingress", "spa-assets-resolve", "tls-chain-valid")
    }
    page.get_by_role("searchbox").fill("203.0.113.7")
    expect(page.get_by_role("status")).to_have_text("1 of 17 checks")
    assert shown(page) == ["sg-db-ingress[stg-gli-database]"]
    page.get_by_role("searchbox").fill("no such check")
    expect(page.get_by_text("No check matches")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("status")).to_have_text("17 of 17 checks")
    assert shown(page) == before
    page.get_by_role("searchbox").fill("ALB-active")
    expect(page.get_by_role("status")).to_have_text("1 of 17 checks")
    assert shown(page) == ["alb-active[stg-gli-alb]"], "a folded group opens for what is found in it"


@browses
@pytest.mark.parametrize("width", [1280, 390])
def test_a_part_of_the_drawing_shows_its_checks(open_page: Open, width: int) -> None:
    page = open_page(page_of("no-go"), viewport={"width": width, "height": 900})
    page.get_by_role("link", name="database stg-gli-database: 1/3 failed").click()
    assert set(shown(page)) == {
        *("sg-db-ingress[stg-gli-database]", "db-tcp-reachable[stg-gli-database]"),
        "db-credentials-valid[stg-gli-database]",
    }
    page.get_by_role("button", name="only stg-gli-database").press("Enter")
    expect(page.get_by_role("status")).to_have_text("17 of 17 checks")


@browses
def test_every_fact_of_a_check_is_shown(open_page: Open) -> None:
    page = open_page(page_of("no-go"), fragment=f"#{quote('sg-db-ingress[stg-gli-database]')}")
    row = page.locator("[id='sg-db-ingress[stg-gli-database]']")
    expect(row.locator(".fact pre")).to_contain_text('"fact": "sg_observation[stg-gli-database]"')
    expect(row.locator(".fact summary")).to_contain_text("TLS 0.10 s")
    bar = page.locator(".bar").first
    bar.locator("summary").click()
    expect(bar.locator("pre")).to_contain_text('"fact"')
    page.locator(".group[data-outcome=passed] > summary").click()
    page.locator("[id='alb-active[stg-gli-alb]'] > summary").click()
    expect(page.locator("[id='alb-active[stg-gli-alb]'] .inside")).to_contain_text("The load balancer is active.")


@browses
def test_pages_that_were_opened_are_shown_but_none_that_shows_a_secret(open_page: Open) -> None:
    jpeg = base64.b64encode(open_page(page_of("go")).screenshot(type="jpeg")).decode()
    shows = [{"url": f"https://stg.glibiz.com/{name}", "screenshot": jpeg, "text": name} for name in ("hello", "***")]
    visits = Record(probe="page_visits", started=BEGUN, duration_s=0.5, observation=shows)
    sample = SAMPLES["go"][1]
    made = html.page(sample, [*records(sample), visits], drawn())
    page = open_page(made)
    pictures = page.locator("#pages img")
    assert [one.get_attribute("alt") for one in pictures.all()] == ["https://stg.glibiz.com/hello"]
    assert pictures.first.evaluate("image => image.naturalWidth") > 100
    assert made.count(jpeg) == 1


@browses
def test_a_missing_fact_is_marked(open_page: Open) -> None:
    page = open_page(html.page(SAMPLES["no-go"][1], [], None))
    page.locator("[id='sg-db-ingress[stg-gli-database]'] > summary").click()
    fact = page.locator("[id='sg-db-ingress[stg-gli-database]'] .fact")
    fact.locator("summary").click()
    expect(fact).to_contain_text("not recorded in this run")


REACHABLE = "a[href], button, input, summary, [tabindex='0']"


@browses
@pytest.mark.parametrize("width", [1280, 390])
def test_the_keyboard_reaches_everything(open_page: Open, width: int) -> None:
    page = open_page(page_of("no-go"), viewport={"width": width, "height": 900})
    number = """els => els.filter(e => e.checkVisibility())
        .map((e, n) => (e.dataset.stop = n, n))"""
    stops = page.locator(REACHABLE).evaluate_all(number)
    reached: list[str] = []
    for _ in stops:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.stop"))
    assert reached == [str(n) for n in stops]
    page.locator("[id='sg-db-ingress[stg-gli-database]'] > summary").press("Enter")
    expect(page.locator("[id='sg-db-ingress[stg-gli-database]'] .fact")).to_be_visible()
    page.locator("a.node:visible").first.press("Enter")
    expect(page.get_by_role("button", name="only glibiz.com")).to_be_focused()


def serious(page: Page) -> list[str]:
    """The serious and critical faults that axe-core finds with all sections unfolded."""
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {node['target']} {node['failureSummary']}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]


@browses
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_serious_fault_whatever_the_outcome(open_page: Open, scheme: str, width: int) -> None:
    waived, unknown, missing = SAMPLES["waived"][1], SAMPLES["unknown"][1], SAMPLES["partial"][1]
    no_go = SAMPLES["no-go"][1]
    lines = [*no_go.checks, *waived.checks[:1], *unknown.checks[:1], *missing.checks[:1]]
    lines = [line.model_copy(update={"target": f"{n}"}) for n, line in enumerate(lines)]
    sample = no_go.model_copy(update={"checks": tuple(lines), "since_pre_deploy": no_go.since_last})
    text = html.page(sample, records(sample), drawn())
    page = open_page(text, color_scheme=scheme, viewport={"width": width, "height": 900})
    assert {group.get_attribute("data-outcome") for group in page.locator(".group[data-outcome]").all()} == {
        outcome.value for outcome in Outcome
    }
    assert serious(page) == []
    assert serious(open_page(page_of("go"), color_scheme=scheme, viewport={"width": width, "height": 900})) == []


HOSTILE = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>{{ 7 * 7 }}\u2028<!--"


@browses
@pytest.mark.parametrize("width", [1280, 390])
def test_no_name_runs_over_its_box(open_page: Open, width: int) -> None:
    names = ("W" * 60, "가" * 60, "stg-gli-a-websocket-application-with-a-long-name", "i" * 200)
    nodes = [n.model_copy(update={"name": names[i % 4]} if n.name else {}) for i, n in enumerate(drawn().nodes)]
    sample = SAMPLES["no-go"][1]
    long = drawn().model_copy(update={"nodes": tuple(nodes)})
    page = open_page(html.page(sample, records(sample), long), viewport={"width": width, "height": 900})
    lines = page.locator("a.node:visible").evaluate_all(
        """nodes => nodes.flatMap((node) => {
            const box = node.querySelector("rect.box").getBoundingClientRect();
            return [...node.querySelectorAll(".part > div")].map((line) => {
                const r = line.getBoundingClientRect();
                const inside = r.left >= box.left && r.right <= box.right && r.top >= box.top && r.bottom <= box.bottom;
                return { text: line.textContent, inside, clipped: getComputedStyle(line).overflowX === "hidden",
                         cut: line.scrollWidth > line.clientWidth };
            });
        })"""
    )
    assert [line for line in lines if not line["inside"] or not line["clipped"]] == []
    assert {line["text"] for line in lines if line["cut"]} >= set(names)


@browses
def test_text_from_a_target_is_not_rendered_as_html(open_page: Open) -> None:
    bad = check(f"db-tcp-reachable[{HOSTILE}]", "failed", saw(HOSTILE, expected="quiet"), hint=HOSTILE)
    sample = verdict(
        bad,
        reasons=(Reason(kind="nothing", message=HOSTILE),),
        root_causes=(root(bad, HOSTILE),),
        account=HOSTILE,
        environment=HOSTILE,
    )
    seen = Record(probe="seen", target=HOSTILE, started=BEGUN, duration_s=1, observation={HOSTILE: HOSTILE})
    denied = Record(
        probe="x", started=BEGUN, duration_s=1, unknown=Unknown(cause="error", message=HOSTILE), phases_s={HOSTILE: 1}
    )
    sample = sample.model_copy(update={"served": {HOSTILE: HOSTILE}, "requests": {HOSTILE: 1}})
    row = bad.model_copy(update={"facts": (seen.fact, "x", HOSTILE), "blocked_by": HOSTILE, "phase": HOSTILE})
    sample = sample.model_copy(update={"checks": (row,)})
    page = open_page(html.page(sample, [seen, denied], drawn(), proves={row.id: HOSTILE}))
    page.locator(".check > summary").click()
    page.locator(".bar").evaluate_all("els => els.forEach(e => { e.open = true; })")
    expect(page.locator(".check .inside")).to_contain_text("onerror='window.hurt = 2'")
    expect(page.locator(".root")).to_contain_text("{{ 7 * 7 }}")
    assert page.evaluate("window.hurt") is None
    assert page.locator("img").count() == 0


@browses
def test_the_page_sends_nothing_even_if_a_script_tries(browser: Browser, tmp_path: Path) -> None:
    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    in_a_thread(server)
    url = f"http://127.0.0.1:{server.server_port}"
    attempts = f"""async () => {{
        const tell = (name) => `{url}/${{name}}`;
        await fetch(tell("fetch"), {{mode: "no-cors"}}).catch(() => 0);
        navigator.sendBeacon(tell("beacon"));
        for (const [tag, key] of [["img", "src"], ["script", "src"], ["iframe", "src"], ["link", "href"]]) {{
            const element = document.createElement(tag);
            element.rel = "stylesheet";
            element[key] = tell(tag);
            await new Promise((done) => {{
                element.onload = element.onerror = done;
                document.body.append(element);
                if (tag === "iframe") setTimeout(done, 100);
            }});
        }}
    }}"""
    blank, file = tmp_path / "blank.html", tmp_path / "page.html"
    blank.write_text("<!doctype html><title>no policy</title><body>")
    file.write_text(page_of("no-go"))
    try:
        page = browser.new_page()
        page.goto(blank.as_uri())
        page.evaluate(attempts)
        assert {"/fetch", "/img", "/script", "/iframe", "/link"} <= set(asked), "the attempts do reach the listener"
        asked.clear()
        page.goto(file.as_uri())
        page.evaluate(attempts)
        page.close()
    finally:
        server.shutdown()
    assert asked == []


@browses
@pytest.mark.parametrize(
    ("name", "width"), sampled([("no-go", 1280), ("go", 1280), ("no-go", 390), ("go", 390)], every=2)
)
def test_the_page_fits_the_screen_and_is_kept_as_a_picture(open_page: Open, name: str, width: int) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        page = open_page(page_of(name), color_scheme=scheme, viewport={"width": width, "height": 900})
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(too_wide) == 0
        picture = ARTEFACTS / f"report-{name}-{width}-{scheme}.png"
        page.screenshot(path=picture, full_page=True)
        assert picture.read_bytes().startswith(b"\x89PNG")


@browses
def test_the_page_can_be_printed_and_read_without_scripts(open_page: Open) -> None:
    page = open_page(page_of("no-go"))
    page.emulate_media(media="print")
    expect(page.get_by_role("searchbox")).to_be_hidden()
    expect(page.locator(".root").first).to_be_visible()
    plain = open_page(page_of("no-go"), java_script_enabled=False)
    expect(plain.locator("[id='spa-assets-resolve[user]']")).to_contain_text("answer text/html")
    plain.get_by_text("Explains (3)").click()
    expect(plain.get_by_role("link", name="api-deep-health[api]").first).to_be_visible()


def test_a_verdict_with_an_invalid_time_still_has_a_page() -> None:
    edited = SAMPLES["go"][1].model_copy(update={"started": "yesterday", "expires": ""})
    assert "<dd>yesterday</dd>" in html.page(edited, [], None)


@browses
def test_an_expired_verdict_is_marked(open_page: Open) -> None:
    text = page_of("go")
    expect(open_page(text, at="2026-01-31T10:00:00Z").locator("#expired")).to_be_hidden()
    expect(open_page(text, at="2026-01-31T11:00:04Z").locator("#expired")).to_be_visible()


@browses
def test_two_thousand_checks(open_page: Open) -> None:
    lines = [check(f"api-health[service-{n}]", *(("failed", "no answer") if n % 100 == 0 else ())) for n in range(2000)]
    sample = verdict(*lines, checks=tuple(sorted(lines, key=lambda c: c.outcome.rank)), checklist=())
    page = open_page(html.page(sample, records(sample), drawn()))
    expect(page.locator(".check")).to_have_count(2000)
    page.get_by_role("searchbox").fill("service-1999")
    expect(page.get_by_role("status")).to_have_text("1 of 2000 checks")
    page.locator("[id='api-health[service-1999]'] > summary").click()
    expect(page.locator("[id='api-health[service-1999]'] .fact")).to_contain_text("service-1999")
    page.get_by_role("button", name="show all 2000 observations").click()
    expect(page.locator(".bar").last).to_be_visible()


@browses
def test_a_real_run_leaves_the_page_and_the_index(open_page: Open, project: Project) -> None:
    project.checks("def test_first_check(target): pass\ndef test_second_check(target): assert False, 'no answer'\n")
    ran = project.run()
    assert ran.folder is not None
    page = open_page(ran.folder / "report.html")
    expect(page.locator("h1")).to_contain_text("NO-GO own")
    expect(page.locator(".root")).to_contain_text("Mend second-check.")
    expect(page.get_by_role("link", name="service api: 1/2 failed")).to_be_visible()
    overview = open_page(project.root / "reports" / "index.html")
    row = overview.locator("tbody tr")
    expect(row).to_contain_text("second-check[api]")
    assert row.get_by_role("link").get_attribute("href") == f"own/{ran.folder.name}/report.html"


# the index ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def leave(reports: Path, sample: Verdict, number: int, facts: str = "") -> Path:
    """Make a run's folder, `number` hours after the first one."""
    started = BEGUN + timedelta(hours=number)
    folder = reports / sample.environment / f"{started:%Y%m%dT%H%M%S}.000-1"
    folder.mkdir(parents=True)
    document = sample.document() | {
        "started": f"{started:%Y-%m-%dT%H:%M:%S}.000Z",
        "finished": f"{started + timedelta(seconds=2 + number):%Y-%m-%dT%H:%M:%S}.000Z",
    }
    (folder / "verdict.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "facts.jsonl").write_text(facts or '{"schema": 1}\n', encoding="utf-8")
    (folder / "report.html").write_text("<!doctype html><title>a run</title>", encoding="utf-8")
    return folder


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """Six runs of stg on the same commits, alternately green and red, and one run of prod."""
    folder = tmp_path / "reports"
    for number in range(6):
        sample = SAMPLES["go" if number % 2 else "no-go"][1]
        facts = "".join(f"{r.model_dump_json(exclude_none=True)}\n" for r in records(sample))
        leave(folder, sample, number, '{"schema": 1}\n' + facts)
    leave(folder, SAMPLES["post-deploy"][1], 3)
    (folder / "stg" / "latest").symlink_to(sorted(p.name for p in (folder / "stg").iterdir())[-1])
    return folder


@browses
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_index_lists_every_environment_with_its_trends(open_page: Open, reports: Path, language: str) -> None:
    index.write(reports, language)
    page = open_page(reports / "index.html", viewport={"width": 1280, "height": 900})
    staging = page.locator("#stg")
    expect(staging.locator("tbody tr")).to_have_count(6)
    expect(staging).to_contain_text("sg_observation[stg-gli-database]")
    flaky = staging.locator("li", has_text="sg-db-ingress[stg-gli-database]")
    expect(flaky).to_contain_text({"en": "changed 5 times", "ko": "5번 바뀜"}[language])
    expect(staging).to_contain_text({"en": "3 of 6 runs were GO", "ko": "실행 6번 중 3번 GO"}[language])
    expect(page.locator("#prod tbody tr")).to_contain_text("ecs-rollout-completed[api]")
    link = staging.locator("tbody a").first
    assert link.get_attribute("href") == "stg/20260131T140000.000-1/report.html"
    assert (reports / "stg/20260131T140000.000-1/report.html").is_file()


@browses
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_the_index_is_accessible_and_fits(open_page: Open, reports: Path, scheme: str, width: int) -> None:
    index.write(reports)
    page = open_page(reports / "index.html", color_scheme=scheme, viewport={"width": width, "height": 900})
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"index-{width}-{scheme}.png", full_page=True)


def test_the_index_survives_lost_damaged_or_outdated_data(reports: Path) -> None:
    index.write(reports)
    whole = (reports / "index.html").read_text(encoding="utf-8")
    index.write(reports)
    assert (reports / "index.html").read_text(encoding="utf-8") == whole, "from what was kept"
    for damage in ("", "{", '{"schema": 1, "runs": []}', '{"schema": 1, "runs": {"stg/20260131T140000.000-1": 7}}'):
        (reports / ".index.json").write_text(damage)
        index.write(reports)
        assert (reports / "index.html").read_text(encoding="utf-8") == whole
    newest = reports / "stg/20260131T140000.000-1"
    (newest / "verdict.json").write_text("{")
    index.write(reports)
    assert "unreadable" in (reports / "index.html").read_text(encoding="utf-8")
    shutil.rmtree(newest)
    index.write(reports)
    assert newest.name not in (reports / "index.html").read_text(encoding="utf-8")


def test_an_empty_index_has_a_message(tmp_path: Path) -> None:
    index.write(tmp_path)
    assert "No run has been recorded yet." in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_only_the_last_fifty_runs_of_an_environment_are_listed(tmp_path: Path) -> None:
    for number in range(53):
        leave(tmp_path, SAMPLES["go"][1], number)
    index.write(tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert text.count("<tr><td") == 50
    assert "50 of 50 runs were GO" in text


def test_a_change_of_commits_makes_no_check_flaky() -> None:
    runs = [
        index.Digest(run=str(n), verdict="GO", whole=True, commits=f"{n}", red=["x[y]"] if n % 2 else [])
        for n in range(6)
    ]
    assert index.history("stg", runs).flaky == []
