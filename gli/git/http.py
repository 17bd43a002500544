"""When an HTTP host that takes no more requests wants to be asked again: git does not print it, but it traces it.

Source of truth: RFC 9110, 10.2.3 (Retry-After); RFC 6585, 4 (429); git(1) (GIT_TRACE_CURL, GIT_TRACE_CURL_NO_DATA).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gli.common.clock import now

_TRACE = "GIT_TRACE_CURL"
_AFTER = re.compile(rb"<= Recv header: retry-after: *(?P<when>[^\r\n]+)", re.IGNORECASE)


@contextmanager
def heard(url: str) -> Iterator[Mapping[str, str]]:
    """Yields the environment variables with which each git notes the host's headers; none if `url` is not of HTTP. git
    leaves logins and cookies out of them.
    """
    if not url.startswith(("http://", "https://")) or os.environ.get(_TRACE):
        yield {}
        return
    import tempfile  # gli pull must start at once, and is often local

    with tempfile.TemporaryDirectory(prefix="gli-http-", ignore_cleanup_errors=True) as folder:
        yield {_TRACE: f"{folder}/headers", f"{_TRACE}_NO_DATA": "1"}


def asked_s(heard: Mapping[str, str]) -> float:
    """The seconds that the host has last asked to wait; 0 if it has not asked. `heard` is what `heard` has yielded."""
    try:
        headers = Path(heard[_TRACE]).read_bytes()
    except (KeyError, OSError):
        return 0.0
    found = _AFTER.findall(headers)
    return _seconds(found[-1].decode(errors="replace").strip()) if found else 0.0


def _seconds(when: str) -> float:
    if when.isdecimal():
        return float(when[:9])
    try:
        moment = datetime.strptime(when, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return 0.0
    return max(0.0, (moment - now()).total_seconds())
