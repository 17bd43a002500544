"""The run itself: is the environment's description consistent, and does the runner stand where --vantage says?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gli.common.sentences import listed, phrase, saw

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.observe.data.vantage import Configuration
    from gli.observe.edge.tcp import TcpConnection


def test_env_config_valid(configuration: Configuration, target: Environment) -> None:
    """environments.toml is consistent: nothing named twice, nothing outside the zone, nothing of the counterpart."""
    objections = configuration.objections
    assert not objections, saw(
        listed(objections), expected=phrase("a description of {} that can be right", target.name)
    )


def test_vantage_vpc_reachable(private_ports: Mapping[str, TcpConnection]) -> None:
    """The runner stands inside the VPC: at least one port of the data tier opens. Other checks name the closed ones."""
    shut = [phrase("{}: {}", name, port.error) for name, port in private_ports.items() if not port.opened]
    assert len(shut) < len(private_ports), saw(listed(shut), expected=phrase("the data tier to open from this runner"))
