"""The names of copies in an environment that `scale.py` has made larger: `api-2` is a copy of `api`."""

from __future__ import annotations

import re

_END = re.compile(r"-[0-9]+$")


def original(name: str) -> str:
    """What a service, a frontend, a repository or a secret is a copy of; itself, if it is no copy."""
    return _END.sub("", name)


def copy_number(name: str) -> str:
    """The end of a copy's name, such as `-2`; empty for an original."""
    return name.removeprefix(original(name))
