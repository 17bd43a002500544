"""Compares the two environments: production must run what staging tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import Phrase, listed, phrase, saw
from gli.observe.aws.parity import LOAD_BALANCER, Configuration, Edges

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.observe.aws.data_tier import Engines


def test_parity_config(configurations: Sequence[Configuration], environment: Environment, target: Environment) -> None:
    """Both environments give a service the same variables and secrets, by name."""
    different = [
        phrase("{}: {} only in {}", c.service, name, (environment if name in c.own else target).name)
        for c in configurations
        for name in sorted(set(c.own) ^ set(c.other))
    ]
    assert not different, saw(
        listed(different),
        expected=phrase("the same variables in the tasks of {} and {}", environment.name, target.name),
    )


def test_parity_edge(edges: Edges, environment: Environment, target: Environment) -> None:
    """Listeners, redirects, TLS policies and error pages are the same in front of both environments."""
    different = [
        phrase("{}: {} only in {}", _named(part), setting, (environment if setting in own else target).name)
        for part in sorted(edges.own.keys() & edges.other.keys())
        for own, other in [(edges.own[part], edges.other[part])]
        for setting in sorted(set(own) ^ set(other))
    ]
    assert not different, saw(
        listed(different), expected=phrase("the same in front of {} and {}", environment.name, target.name)
    )


def test_parity_engines(engines: Engines) -> None:
    """Database and cache have the same major version in both environments."""
    different = [
        phrase("{} {} and {}", part, engines.own[part], engines.other[part])
        for part in sorted(set(engines.own) & set(engines.other))
        if _major(engines.own[part]) != _major(engines.other[part])
    ]
    assert not different, saw(
        listed(different),
        expected=phrase("the same major versions in {} and {}", engines.environment, engines.counterpart),
    )


def _named(part: str) -> Phrase:
    if part == LOAD_BALANCER:
        return phrase("load balancer")
    of = part.removeprefix(f"{LOAD_BALANCER} ")
    return phrase("{} frontend", part) if of == part else phrase("load balancer of {}", of)


def _major(engine: str) -> str:
    """Name and major version: `postgres 18` for `postgres 18.1`."""
    return engine.partition(".")[0]
