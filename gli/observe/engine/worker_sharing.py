"""One observatory for all xdist workers: the controlling process observes, and the workers ask it over a socket.

A message is one JSON document; nothing is pickled. The socket is a Unix socket in a private folder, and demands a key
that only the workers know.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, TypeVar

from gli.common.sentences import phrase
from gli.observe.engine.observation import Record, Unknown, Unobserved, fact_name, unknown
from gli.observe.engine.observatory import Observations, observation_of, target_name
from gli.observe.engine.probe import Probe, probe_of
from gli.observe.engine.probe_places import noted

Seen = TypeVar("Seen")


class Share:
    """Serves an observatory to other processes until it is closed."""

    def __init__(
        self,
        observatory: Observations,
        record_of: Callable[[str], Record | None],
        target_of: Callable[[str, str], Any],
    ) -> None:
        self._observatory = observatory
        self._record_of = record_of
        self._target_of = target_of
        self._folder = tempfile.TemporaryDirectory(prefix="gli-share-")
        self.key = secrets.token_bytes(16)
        self._listener = Listener(str(Path(self._folder.name) / "socket"), "AF_UNIX", authkey=self.key)
        threading.Thread(target=self._accept, name="share", daemon=True).start()

    @property
    def ticket(self) -> dict[str, str]:
        """What a worker needs in order to ask."""
        return {"address": str(self._listener.address), "key": self.key.hex()}

    def close(self) -> None:
        """Ends the service for new workers."""
        with suppress(OSError):
            self._listener.close()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except Exception:  # noqa: BLE001 - the socket is closed, or somebody came without the key
                if not Path(self._folder.name).exists():
                    return
                continue
            threading.Thread(target=self._serve, args=(connection,), name="share-worker", daemon=True).start()

    def _serve(self, connection: Connection[Any, Any]) -> None:
        with connection, suppress(EOFError, OSError, Unobserved):  # a worker may ask until it hears of the end
            while True:
                asked = json.loads(connection.recv_bytes())
                if "begin" in asked:
                    for probe, group, target in asked["begin"]:
                        self._observatory.begin(_known(probe), self._target_of(group, target))
                    continue
                connection.send_bytes(self._answer(*asked["wait"]).model_dump_json().encode())

    def _answer(self, place: str, group: str, target: str) -> Record:
        probe, table = _known(place), self._target_of(group, target)
        name = probe.name
        missing: Unknown | None = None
        try:
            self._observatory.wait(probe, table)
        except Unobserved as e:
            missing = e.unknown
        record = self._record_of(fact_name(name, target_name(table)))
        if record is None:
            from gli.common.clock import now

            missing = missing or Unknown(cause="error", message=phrase("{} left no record", name))
            return Record(probe=name, target=target_name(table), started=now(), duration_s=0, unknown=missing)
        return record


def _place(probe: Probe[Any]) -> str:
    return f"{probe.run.__module__}:{probe.name}"


def _known(place: str) -> Probe[Any]:
    """The probe that a worker asks for. The controlling process collects no checks: it may not have imported the probe
    yet.
    """
    found = probe_of(noted(place))
    assert found is not None, place
    return found


class Remote:
    """The controlling process's observatory, as a worker sees it."""

    def __init__(self, ticket: dict[str, str], group_of: Callable[[Any], str]) -> None:
        self._connection = Client(ticket["address"], "AF_UNIX", authkey=bytes.fromhex(ticket["key"]))
        self._group_of = group_of

    def begin(self, probe: Probe[Any], target: Any = None) -> None:
        """Asks the controlling process to start an observation."""
        self._send({"begin": [[_place(probe), self._group_of(target), target_name(target)]]})

    def wait(self, probe: Probe[Seen], target: Any = None) -> Seen:
        """The observation that the controlling process made; raises `Unobserved` like it."""
        self._send({"wait": [_place(probe), self._group_of(target), target_name(target)]})
        try:
            record = Record.model_validate_json(self._connection.recv_bytes())
        except (EOFError, OSError) as e:
            raise unknown("error", phrase("the observing process is gone: {}", e)) from None
        return observation_of(probe, record)

    def close(self) -> None:
        """Ends the conversation."""
        self._connection.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError as e:
            raise unknown("error", phrase("the observing process is gone: {}", e)) from None
