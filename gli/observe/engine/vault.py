"""Secrets while a run needs them: fetched once, handed to probes, never part of an observation.

The vault also knows every value that must not leave: the redactor of `gli.report.redact` asks for them.
"""

from __future__ import annotations


class Vault:
    """Secret documents by id, in memory only."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, str]] = {}
        self._values: set[str] = set()

    def keep(self, secret_id: str, document: dict[str, str], *, public: frozenset[str]) -> None:
        """Remembers a document; from now on, the values of all fields but the `public` ones are secrets."""
        self._documents[secret_id] = document
        self._values.update(v for k, v in document.items() if k not in public and v)

    def hide(self, value: str) -> None:
        """Remembers one value that must not leave."""
        if value:
            self._values.add(value)

    def document(self, secret_id: str) -> dict[str, str]:
        """The fields of a secret that was fetched before."""
        return self._documents[secret_id]

    @property
    def values(self) -> frozenset[str]:
        """Every value that must not leave."""
        return frozenset(self._values)
