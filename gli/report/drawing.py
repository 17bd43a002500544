"""The position of each part of an environment in the drawing, and its health.

Two layouts of the same parts: `broad` from left to right for a desk, `tall` from top to bottom for a phone. Lengths are
in the units of the SVG's viewBox, which are pixels at the drawing's natural width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gli.judge.outcome import Outcome
from gli.report import web
from gli.report.topology import TIERS, Node, Topology

_HEIGHT, _ROW_GAP, _CAPTION = 64, 14, 22
_BROAD, _BROAD_NODE = 1080, 182
_TALL, _TALL_GAP = 358, 12
_AROUND_COLUMNS = 5


@dataclass(frozen=True)
class Health:
    """The health of a part: the worst outcome of its checks, and how many of them have it."""

    outcome: str
    """The worst outcome; `none` if the run judged none of its checks."""
    n: int
    all: int

    @property
    def bad(self) -> bool:
        return self.outcome != "none" and Outcome(self.outcome).red


@dataclass(frozen=True)
class Placed:
    """A part with its place and its health."""

    index: int
    node: Node
    health: Health
    x: float
    y: float
    width: float

    @property
    def height(self) -> int:
        return _HEIGHT


@dataclass(frozen=True)
class Drawing:
    """One layout."""

    width: int
    height: float
    nodes: tuple[Placed, ...]
    edges: tuple[str, ...]
    """SVG path data."""
    captions: tuple[tuple[float, float, str], ...]
    """x, y and the tier."""


def with_the_rest(topology: Topology, labels: Sequence[str]) -> Topology:
    """The topology with one more part for those checks of the run that belong to none of its parts."""
    claimed = {label for node in topology.nodes for label in node.cases}
    rest = tuple(label for label in labels if label not in claimed)
    if not rest:
        return topology
    other = Node(id="other:", kind="other", name="", tier="around", cases=rest)
    return topology.model_copy(update={"nodes": (*topology.nodes, other)})


def health(node: Node, outcomes: Mapping[str, str]) -> Health:
    """The health of a part; what is not applicable counts only where nothing else was judged."""
    found = Counter(outcomes[label] for label in node.cases if label in outcomes)
    judged = {o: n for o, n in found.items() if o != Outcome.NOT_APPLICABLE} or found
    if not judged:
        return Health("none", 0, 0)
    outcome = web.worst(judged)
    return Health(outcome, judged[outcome], found.total())


def broad(topology: Topology, outcomes: Mapping[str, str]) -> Drawing:
    """From left to right, one column for each tier; parts that belong to no path stand below."""
    tiers = _tiers(topology)
    step = min((_BROAD - _BROAD_NODE) / max(len(tiers) - 1, 1), 280)
    tallest = max((len(tier) for tier in tiers.values()), default=0)
    centre = _CAPTION + _stack(tallest) / 2
    places: dict[int, tuple[float, float, float]] = {}
    captions = []
    for column, (name, tier) in enumerate(tiers.items()):
        top = centre - _stack(len(tier)) / 2
        captions.append((column * step, top - 8, name))
        for row, index in enumerate(tier):
            places[index] = (column * step, top + row * (_HEIGHT + _ROW_GAP), _BROAD_NODE)
    bottom = _CAPTION + _stack(tallest) if tiers else 0
    bottom = _around(topology, places, captions, bottom, _BROAD, _AROUND_COLUMNS, _ROW_GAP)
    edges = [_across(places[a], places[b]) for a, b in _edges(topology)]
    return _drawing(topology, outcomes, _BROAD, bottom, places, edges, captions)


def tall(topology: Topology, outcomes: Mapping[str, str]) -> Drawing:
    """From top to bottom, two parts beside each other."""
    places: dict[int, tuple[float, float, float]] = {}
    captions: list[tuple[float, float, str]] = []
    bottom = 0.0
    for name, tier in _tiers(topology).items():
        bottom += _CAPTION
        captions.append((0, bottom - 8, name))
        bottom = _grid(tier, places, bottom, _TALL, min(2, len(tier)), _TALL_GAP) + 10
    bottom = _around(topology, places, captions, max(bottom - 10, 0), _TALL, 2, _TALL_GAP)
    edges = [_down(places[a], places[b]) for a, b in _edges(topology)]
    return _drawing(topology, outcomes, _TALL, bottom, places, edges, captions)


def _tiers(topology: Topology) -> dict[str, list[int]]:
    found = {tier: [i for i, node in enumerate(topology.nodes) if node.tier == tier] for tier in TIERS}
    return {tier: indices for tier, indices in found.items() if indices}


def _edges(topology: Topology) -> list[tuple[int, int]]:
    index = {node.id: i for i, node in enumerate(topology.nodes)}
    return [(index[a], index[b]) for a, b in topology.edges]


def _stack(rows: int) -> float:
    return rows * _HEIGHT + max(rows - 1, 0) * _ROW_GAP


def _around(
    topology: Topology,
    places: dict[int, tuple[float, float, float]],
    captions: list[tuple[float, float, str]],
    bottom: float,
    width: int,
    columns: int,
    gap: int,
) -> float:
    """Places the parts that belong to no path below everything else; returns the new bottom."""
    around = [i for i, node in enumerate(topology.nodes) if node.tier == "around"]
    if not around:
        return bottom
    top = bottom + (_CAPTION + 16 if bottom else _CAPTION)
    captions.append((0, top - 8, "around"))
    return _grid(around, places, top, width, columns, gap)


def _grid(
    indices: Sequence[int],
    places: dict[int, tuple[float, float, float]],
    top: float,
    width: int,
    columns: int,
    gap: int,
) -> float:
    each = (width - gap * (columns - 1)) / columns
    for position, index in enumerate(indices):
        row, column = divmod(position, columns)
        places[index] = (column * (each + gap), top + row * (_HEIGHT + gap), each)
    rows = -(-len(indices) // columns)
    return top + rows * _HEIGHT + (rows - 1) * gap


def _across(a: tuple[float, float, float], b: tuple[float, float, float]) -> str:
    x1, y1, x2, y2 = a[0] + a[2], a[1] + _HEIGHT / 2, b[0], b[1] + _HEIGHT / 2
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"


def _down(a: tuple[float, float, float], b: tuple[float, float, float]) -> str:
    x1, y1, x2, y2 = a[0] + a[2] / 2, a[1] + _HEIGHT, b[0] + b[2] / 2, b[1]
    middle = (y1 + y2) / 2
    return f"M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"


def _drawing(
    topology: Topology,
    outcomes: Mapping[str, str],
    width: int,
    height: float,
    places: Mapping[int, tuple[float, float, float]],
    edges: Sequence[str],
    captions: Sequence[tuple[float, float, str]],
) -> Drawing:
    nodes = tuple(Placed(i, node, health(node, outcomes), *places[i]) for i, node in enumerate(topology.nodes))
    return Drawing(width, height + 2, nodes, tuple(edges), tuple(captions))
