"""Tables of TOML as typed, frozen models, and the one sentence about a table that has an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gli.common.errors import UsageError
from gli.git.command import without_secrets


class Table(BaseModel):
    """One table of a file. A table that can be a check's target has a `name`; its outcomes are reported under this
    name.
    """

    # Deferred: most tables are validated as a part of a larger one, and need no validator of their own.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


T = TypeVar("T", bound=Table)


def validated(model: type[T], table: Any, *, file: str | Path, name: str, heading: str = "[{}]", **more: Any) -> T:
    """The table as a model, with `more` fields that the file does not hold.

    Raises `UsageError` with the file, the key and what to mend. `heading` says how the file names the table.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{file}: {name} must be a table, as in {heading.format(name)}")
    try:
        return model.model_validate({**tuples(table), **more})
    except ValidationError as e:
        raise UsageError(f"{file}: {_sentence(name, heading, e)}") from None


def tuples(value: Any) -> Any:
    """TOML arrays as tuples: frozen models can't hold lists."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(tuples(v) for v in value) if isinstance(value, list) else value


def _sentence(name: str, heading: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    keys = [str(part) for part in first["loc"]]
    table, key = heading.format(".".join([name, *keys[:-1]])), keys[-1] if keys else ""
    more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
    message, own = first["msg"].removeprefix("Value error, "), first["type"] == "value_error"
    if not key or (own and isinstance(first["input"], dict)):
        return f"{heading.format('.'.join([name, *keys]))} {message}{more}"
    if first["type"] == "missing":
        return f"{table} {key} is missing; write it{more}"
    if first["type"] == "extra_forbidden":
        return f"{table} {key} is not a known key; mend its spelling or take it out{more}"
    should = f"be {message}" if own else message.partition(" should ")[2] or f"be valid: {message}"
    return f"{table} {key} = {without_secrets(repr(first['input']))} should {should}; mend the value{more}"
