"""Writes what only a running sandbox knows: the tables that are merged on top of `environments.toml`'s `[sandbox]`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gli.config.environments import Environment
from sandbox.aws.seed import Seeded

PROFILE = "gli-verify"
IDLE_HOLD_S = 1.0
"""How long a quiet WebSocket session must hold here: nobody waits for a real load balancer's idle timeout."""


def holding(environment: Environment) -> dict[str, dict[str, float]]:
    """The tables of the services whose quiet WebSocket sessions must hold for a time: here a short one."""
    held = [name for name, service in environment.services.items() if service.idle_hold_s is not None]
    return {f"services.{name}": {"idle_hold_s": IDLE_HOLD_S} for name in held}


def toml(tables: Mapping[str, Any]) -> str:
    """Format tables of strings, numbers, lists and tables as TOML: plain keys first, then the sections."""
    return "\n".join([*_lines("", tables), ""])


def _lines(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    if name:
        yield f"\n[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield _line(key, value)
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _lines(f"{name}.{key}" if name else key, value)


def _line(key: str, value: Any) -> str:
    return f"{json.dumps(key)} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(_line(k, v) for k, v in value.items())}}}"
    # A JSON string without the surrogate escapes of non-ASCII text is a TOML basic string.
    return json.dumps(value, ensure_ascii=False)


def credentials_file(seeded: Seeded) -> str:
    """An AWS credentials file with the session of the verification role."""
    return (
        f"[{PROFILE}]\n"
        f"aws_access_key_id = {seeded.access_key_id}\n"
        f"aws_secret_access_key = {seeded.secret_access_key}\n"
        f"aws_session_token = {seeded.session_token}\n"
    )
