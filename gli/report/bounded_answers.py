"""Limits for the answers of receivers: apprise, which sends the messages, reads each answer as a whole.

apprise sends with requests over HTTP, and with smtplib to mail servers.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from typing import Any

_MOST_BYTES = 1_000_000  # of one answer over HTTP, once it is unpacked; of all answers of a mail server
_PART_BYTES = 8_192  # small: a part may unpack to a thousand times as much
_TOO_MUCH = f"more than {_MOST_BYTES // 1000} kB"


def limit_answers() -> None:
    """From now on, an answer that exceeds the limit fails like a connection that breaks."""
    from requests import adapters

    adapters.Response = _limited_response()  # type: ignore[attr-defined]
    smtplib.SMTP.getreply = _getreply  # type: ignore[assignment, method-assign]


def _limited_response() -> Any:
    import requests

    class Limited(requests.Response):
        def iter_content(self, chunk_size: int | None = 1, decode_unicode: Any = False) -> Iterator[Any]:
            read = 0
            for part in super().iter_content(_PART_BYTES, decode_unicode):
                read += len(part)
                if read > _MOST_BYTES:
                    raise requests.exceptions.ContentDecodingError(_TOO_MUCH)
                yield part

    return Limited


class _LimitedLines:
    """The lines that a mail server sends over one connection."""

    def __init__(self, lines: Any) -> None:
        self._lines, self._read = lines, 0

    def readline(self, most: int) -> bytes:
        line: bytes = self._lines.readline(most)
        self._read += len(line)
        if self._read > _MOST_BYTES:
            raise OSError(_TOO_MUCH)  # smtplib closes the connection
        return line

    def close(self) -> None:
        self._lines.close()


_whole_reply = smtplib.SMTP.getreply


def _getreply(session: smtplib.SMTP) -> tuple[int, bytes]:
    if session.file is None:  # a new connection, or TLS begins on it
        session.file = _LimitedLines(session.sock.makefile("rb"))  # type: ignore[union-attr]
    return _whole_reply(session)
