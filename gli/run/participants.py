"""Who took part in judging, in every process of a run: the files that were loaded, and pytest's plugins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from gli.common import sources
from gli.common.sentences import Phrase, phrase
from gli.judge.verdict import JudgingFile, Plugin

TRIED = frozenset(
    {
        *("gli-verify", "pytest-xdist", "anyio", "platformdirs", "hypothesis"),
        *("flaky", "pytest-rerunfailures", "pytest-retry", "pytest-rerun-all", "pytest-repeat"),
        *("pytest-asyncio", "pytest-trio", "pytest-django", "pytest-mock", "pytest-timeout", "pytest-cov"),
        *("pytest-randomly", "pytest-random-order", "pytest-order", "pytest-split", "pytest-testmon", "pytest-picked"),
        *("pytest-html", "pytest-metadata", "pytest-json-report", "pytest-md-report", "allure-pytest"),
        *("pytest-sugar", "pytest-rich", "pytest-clarity", "pytest-instafail", "teamcity-messages"),
        *("pytest-github-actions-annotate-failures", "pytest-custom-exit-code", "pytest-dependency", "pytest-subtests"),
    }
)
"""Distributions whose plugins leave a failure a failure: each was tried with a check that passes on its second call."""
_OWN = ("_pytest.", "gli.", "__channelexec__")  # the last is what a worker of xdist runs in


@dataclass
class Participants:
    """What took part so far."""

    files: dict[str, sources.Loaded] = field(default_factory=dict)
    """By path."""
    plugins: dict[str, str | None] = field(default_factory=dict)
    """Name to version."""

    def add(self, document: str) -> None:
        """Adds what another process saw: the text that `seen` made there."""
        told = json.loads(document)
        for one in told["files"]:
            loaded = sources.Loaded(**one)
            known = self.files.setdefault(loaded.path, loaded)
            if known.sha256 != loaded.sha256:  # it changed between two processes
                self.files[loaded.path] = sources.Loaded(known.module, known.path, known.sha256, stale=True)
        self.plugins.update(told["plugins"])

    def strangers(self, hashed: Mapping[str, str]) -> Iterator[Phrase]:
        """A sentence for each file that is not, as it ran, among those of the digest: real path to SHA-256."""
        for one in self.files.values():
            expected = hashed.get(os.path.realpath(one.path))
            if not expected:
                yield phrase("{} took part in judging, and no digest covers it", one.path)
            elif one.stale or one.sha256 != expected:
                yield phrase("what ran of {} is not what the digest covers: the file or its bytecode changed", one.path)

    def judging_files(self, root: Path) -> tuple[JudgingFile, ...]:
        """For the verdict."""
        found = sorted(self.files.values(), key=lambda one: (one.module, one.path))
        return tuple(JudgingFile(module=f.module, path=_short(f.path, root), sha256=f.sha256) for f in found)

    def judging_plugins(self) -> tuple[Plugin, ...]:
        """For the verdict."""
        return tuple(
            Plugin(name=name, version=version, tried=name.lower() in TRIED)
            for name, version in sorted(self.plugins.items())
        )


def seen(config: pytest.Config) -> str:
    """What took part in this process, as JSON."""
    return json.dumps({"files": [vars(one) for one in sources.loaded()], "plugins": dict(_plugins(config))})


def _plugins(config: pytest.Config) -> Iterator[tuple[str, str | None]]:
    """Every plugin that is neither pytest's own nor this package's, nor a conftest: by its distribution's name where
    it has one, else by its module's.
    """
    manager = config.pluginmanager
    distributed = {id(plugin): distribution for plugin, distribution in manager.list_plugin_distinfo()}
    of_modules: Mapping[str, Any] | None = None
    for name, plugin in manager.list_name_plugin():
        if plugin is None:
            continue
        if id(plugin) in distributed:
            yield distributed[id(plugin)].metadata["Name"], distributed[id(plugin)].version
            continue
        module = getattr(plugin, "__name__", None) or type(plugin).__module__
        if module.startswith(_OWN) or module.rpartition(".")[2] == "conftest" or plugin is manager:
            continue
        of_modules = of_modules or metadata.packages_distributions()
        names: Iterable[str] = of_modules.get(module.partition(".")[0], ())
        for distribution in names:
            if distribution != "pytest":
                yield distribution, metadata.version(distribution)
        if not names:
            yield module or name, None


def _short(path: str, root: Path) -> str:
    real = Path(os.path.realpath(path))
    for base in (root.resolve(), Path(sources.PACKAGE).parent):
        if real.is_relative_to(base):
            return str(real.relative_to(base))
    return path
