"""The limits of one AWS call: its pages, their size, its end. A call that exceeds one is unknown; its answer is never
cut short.

Source of truth: boto3's events (`before-call`, `before-send`, `after-call`), urllib3's `HTTPResponse.shutdown`.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from gli.common.sentences import phrase
from gli.observe.engine.observation import Counts, unknown

MOST_PAGES = 500
MOST_BYTES = 32_000_000
MOST_BYTES_OF_AN_ERROR = 1_000_000  # an error's message is copied several times on its way to the verdict
"""Bytes of all pages of one call."""
MOST_BYTES_AT_ONCE = 48_000_000
"""Bytes of all calls under way. A parsed answer takes several times as much memory."""
MOST_ELEMENTS = 1_000_000
"""The most signs in the pages of one call that begin an element of XML or a part of JSON: each small element takes 100
bytes of memory.
"""
_BEGINNINGS = (b"<", b",", b"[", b"{")
_PART_BYTES = 65_536

_under_way: contextvars.ContextVar[Call] = contextvars.ContextVar("under_way")


class Together:
    """How many bytes the calls under way hold together."""

    def __init__(self) -> None:
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self, more: int) -> int:
        """Adds to the sum and returns the new sum. A negative number gives bytes back."""
        with self._lock:
            self._bytes += more
            return self._bytes


class Call:
    """One call under way, in a thread that nothing can cancel. `stop` ends it at its next request, page or read."""

    def __init__(self, observer: Counts, service: str, operation: str, together: Together) -> None:
        self._observer, self._service, self._name = observer, service, f"{service}:{operation}"
        self._together = together
        self._asked: set[str] = set()
        self._bytes = self._elements = 0
        self._stopped = False
        self._reading: Any = None
        self.page: Mapping[str, Any] = {}
        """The newest page, as botocore parsed it."""

    def begin(self) -> None:
        """Makes everything that this thread or task sends from now on part of this call."""
        _under_way.set(self)

    def stop(self) -> None:
        """Ends the call, because nobody waits for its answer any more. May be called from any thread, and more than
        once.
        """
        self._stopped = True
        reading = self._reading
        if reading is not None:
            with suppress(Exception):  # the read has ended meanwhile
                reading.shutdown()
        self._together.take(-self._bytes)
        self._bytes = 0

    def ask(self, asked: str) -> None:
        """To be called before each page. Raises `Unobserved` if there is no last page."""
        self._go_on()
        if asked in self._asked:
            raise self.endless()
        self._asked.add(asked)
        if len(self._asked) > MOST_PAGES:
            raise unknown("too-little-data", phrase("{} answered with more than {} pages", self._name, MOST_PAGES))

    def endless(self) -> Exception:
        """The exception for a token that leads back to a page that was already read."""
        return unknown("too-little-data", phrase("{} gave the same token for its next page twice", self._name))

    def nothing(self) -> Exception:
        """The exception for an answer without a body."""
        return unknown("error", phrase("{} was answered with an empty body", self._name))

    def send(self) -> None:
        """To be called before each HTTP request, retries included."""
        self._go_on()
        self._observer.count(self._service)

    def read(self, raw: Any, most: int) -> bytes:
        """The whole body of an answer. Raises `Unobserved` if the body has more bytes than `most`, or if all answers
        together are too large.
        """
        parts: list[bytes] = []
        size = 0
        self._reading = raw
        try:
            for part in raw.stream(_PART_BYTES):
                self._go_on()
                self._take(len(part))
                self._elements += sum(map(part.count, _BEGINNINGS))
                if self._elements > MOST_ELEMENTS:
                    said = phrase("{} answered with more than {} elements", self._name, MOST_ELEMENTS)
                    raise unknown("too-little-data", said)
                size += len(part)
                if size > most:
                    raise self._too_much(most)
                parts.append(part)
            self._go_on()  # after a shutdown, a read ends like that of a whole body
        except BaseException:
            raw.close()
            raise
        finally:
            self._reading = None
        return b"".join(parts)

    def _take(self, more: int) -> None:
        self._bytes += more
        together = self._together.take(more)
        if self._bytes > MOST_BYTES:
            raise self._too_much(MOST_BYTES)
        if together > MOST_BYTES_AT_ONCE:
            raise unknown(
                "too-little-data",
                phrase(
                    "{} and the calls beside it were answered more than {} MB",
                    self._name,
                    MOST_BYTES_AT_ONCE // 1_000_000,
                ),
            )

    def _too_much(self, most: int) -> Exception:
        return unknown("too-little-data", phrase("{} answered more than {} MB", self._name, most // 1_000_000))

    def _go_on(self) -> None:
        if self._stopped:
            raise unknown("timed-out", phrase("{} was not answered in time", self._name))


def limit(client: Any) -> None:
    """Makes everything that a client of botocore sends and reads part of the call under way."""
    client.meta.events.register("before-call.*.*", _ask)
    client.meta.events.register("before-send.*.*", _send)
    client.meta.events.register("after-call.*.*", _keep)
    session = client._endpoint.http_session  # botocore has no event before it reads the body
    session.send = partial(_read, session.send)


def _ask(params: Any, model: Any, **_: Any) -> None:
    _under_way.get().ask(repr((model.name, params["url_path"], params["query_string"], params["body"])))


def _keep(parsed: Mapping[str, Any], **_: Any) -> None:
    _under_way.get().page = parsed


def _send(**_: Any) -> None:
    _under_way.get().send()


def _read(send: Any, request: Any) -> Any:
    """`URLLib3Session.send` reads a body of any size, unless it is told to stream the body."""
    from botocore import exceptions as e
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    if request.stream_output:
        return send(request)
    request.stream_output = True
    answer = send(request)
    try:
        most = MOST_BYTES if answer.status_code < 300 else MOST_BYTES_OF_AN_ERROR
        answer._content = _under_way.get().read(answer.raw, most)
    except ReadTimeoutError as error:
        raise e.ReadTimeoutError(endpoint_url=request.url, error=error) from error
    except HTTPError as error:
        raise e.ConnectionClosedError(endpoint_url=request.url, error=error, request=request) from error
    if answer.status_code == 200 and not answer._content and request.method != "HEAD":
        raise _under_way.get().nothing()  # botocore would turn an empty body into an answer with no member set
    return answer
