"""The data for the drawing of an environment and for the waterfall of a run: parts, lines, lengths."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from conftest import ROOT
from gli.config import catalogue, environments
from gli.observe.engine.observation import Record
from gli.report import drawing, waterfall, web
from gli.report.topology import Topology, topology

BEGUN = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


def drawn(name: str = "stg") -> Topology:
    environment = environments.load(ROOT, name, overlay={})
    return topology(environment, catalogue.load(ROOT).cases(environment, None))


@pytest.mark.parametrize("name", ["dev", "stg", "prod", "sandbox"])
def test_every_case_belongs_to_one_part_and_every_line_joins_two(name: str) -> None:
    environment = environments.load(ROOT, name, overlay={})
    cases = catalogue.load(ROOT).cases(environment, None)
    made = topology(environment, cases)
    labels = [label for node in made.nodes for label in node.cases]
    assert sorted(labels) == sorted(str(case.key) for case in cases)
    ids = {node.id for node in made.nodes}
    assert len(ids) == len(made.nodes)
    assert all(a in ids and b in ids for a, b in made.edges)


def test_the_drawing_of_staging_follows_a_request() -> None:
    edges = set(drawn().edges)
    way = ("zone:glibiz.com", "host:stg-api.glibiz.com", "balancer:stg-gli-alb", "service:api")
    assert {*zip(way, (*way[1:], "database:stg-gli-database"), strict=True)} <= edges
    assert ("cdn:user", "bucket:stg-gli-user-frontend") in edges
    assert ("service:websocket", "database:stg-gli-database") not in edges, "its group may not reach the database"


@pytest.mark.parametrize("layout", [drawing.broad, drawing.tall])
def test_no_two_parts_of_a_drawing_overlap(layout: Callable[..., drawing.Drawing]) -> None:
    made = layout(drawn(), {})
    boxes = [(p.x, p.y, p.x + p.width, p.y + p.height) for p in made.nodes]
    for n, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and right <= made.width + 0.01 and top >= 0 and bottom <= made.height
        for other in boxes[n + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_part_shows_its_worst_outcome_and_a_count() -> None:
    node = next(n for n in drawn().nodes if n.id == "database:stg-gli-database")
    outcomes = dict.fromkeys(node.cases, "passed")
    assert drawing.health(node, outcomes).outcome == "passed"
    outcomes[node.cases[0]] = "not-applicable"
    assert drawing.health(node, outcomes).outcome == "passed"
    outcomes[node.cases[1]] = "blocked"
    outcomes[node.cases[2]] = "failed"
    assert (drawing.health(node, outcomes).outcome, drawing.health(node, outcomes).n) == ("failed", 1)
    assert drawing.health(node, {}).outcome == "none"


def test_a_check_without_a_part_is_still_drawn() -> None:
    whole = drawing.with_the_rest(drawn(), ["api-health[api]", "gone[api]"])
    assert [node.cases for node in whole.nodes if node.kind == "other"] == [("gone[api]",)]


def observed(name: str, at_s: float, took_s: float, **phases: float) -> Record:
    return Record(probe=name, started=BEGUN + timedelta(seconds=at_s), duration_s=took_s, phases_s=phases)


def test_a_bar_begins_where_its_observation_began_and_its_phases_add_up() -> None:
    fall = waterfall.of([observed("b", 1, 1, connect=0.25, odd=0.25), observed("a", 0, 2)])
    first, second = fall.bars
    assert (first.record.probe, first.x, first.width, first.parts) == ("a", 0, 100, (("rest", 0, 100),))
    assert second.parts == (("connect", 50, 12.5), ("other", 62.5, 12.5), ("rest", 75, 25))
    assert fall.ticks == ((0, "0 s"), (25, "0.5 s"), (50, "1 s"), (75, "1.5 s"), (100, "2 s"))


def test_a_much_longer_bar_is_cut_and_marked() -> None:
    others = [observed(f"o{n}", 0, 1) for n in range(40)]
    fall = waterfall.of([*others, observed("quiet", 0, 70)])
    assert [bar.record.probe for bar in fall.bars if bar.cut] == ["quiet"]
    assert all(bar.width > 60 for bar in fall.bars)
    assert sum(not bar.more for bar in fall.bars) == 25


def test_a_run_without_records_has_no_waterfall() -> None:
    assert waterfall.of([]).bars == ()


def test_the_outcome_bar_shows_two_reds_among_hundreds() -> None:
    (first, begun, red), (second, at, green) = web.shares({"passed": 998, "failed": 2})
    assert (first, begun, second) == ("failed", 0, "passed")
    assert red == at == pytest.approx(1, abs=0.05)
    assert red + green == pytest.approx(100, abs=0.01)
