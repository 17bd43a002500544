"""Everything that took part in judging, in every process of a run: the loaded files and pytest's plugins."""

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
from gli.config import toml_tables
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
"""Distributions whose plugins never turn a failure into a pass. Each was tried with a check that fails on its first
call and passes on its second."""
_OWN = ("_pytest.", "gli.", "__channelexec__")  # the last is the main module of an xdist worker


@dataclass
class Participants:
    """The files and plugins that took part so far."""

    files: dict[str, sources.Loaded] = field(default_factory=dict)
    """By path."""
    plugins: dict[str, str | None] = field(default_factory=dict)
    """Name to version."""
    tables: dict[str, set[str]] = field(default_factory=dict)
    """Real path of each TOML file that was read to the SHA-256 of what was read."""
    silent: bool = False
    """Whether a process of the run ended and did not say what it had loaded."""

    def add(self, document: str) -> None:
        """Adds the files and plugins of another process: the text that `seen` returned there."""
        told = json.loads(document)
        for one in told["files"]:
            loaded = sources.Loaded(**one)
            known = self.files.setdefault(loaded.path, loaded)
            if known.sha256 != loaded.sha256:  # the file changed between two processes
                self.files[loaded.path] = sources.Loaded(known.module, known.path, known.sha256, stale=True)
        self.plugins.update(told["plugins"])
        for path, read in told["tables"].items():
            self.tables.setdefault(path, set()).update(read)

    def strangers(self, hashed: Mapping[str, str]) -> Iterator[Phrase]:
        """A sentence for each loaded file that the digest does not cover, and for each file that differs from it.

        `hashed` maps the real path of each file of the digest to its SHA-256.
        """
        if self.silent:
            yield phrase("a worker ended, and did not say which files and plugins it had loaded")
        for one in self.files.values():
            expected = hashed.get(sources.real(one.path))
            if not expected:
                yield phrase("{} took part in judging, and no digest covers it", one.path)
            elif one.stale or one.sha256 != expected:
                yield phrase("what ran of {} is not what the digest covers: the file or its bytecode changed", one.path)
        for path, read in self.tables.items():
            if path in hashed and read != {hashed[path]}:
                yield phrase("what was read of {} is not what the digest covers: the file changed", path)

    def judging_files(self, root: Path) -> tuple[JudgingFile, ...]:
        """The loaded files, as the verdict names them."""
        found = sorted(self.files.values(), key=lambda one: (one.module, one.path))
        bases = [f"{base}{os.sep}" for base in (root.resolve(), Path(sources.PACKAGE).parent)]
        return tuple(JudgingFile(module=f.module, path=_short(f.path, bases), sha256=f.sha256) for f in found)

    def judging_plugins(self) -> tuple[Plugin, ...]:
        """The plugins, as the verdict names them."""
        return tuple(
            Plugin(name=name, version=version, tried=name.lower() in TRIED)
            for name, version in sorted(self.plugins.items())
        )


def seen(config: pytest.Config) -> str:
    """The files and plugins that took part in this process, as JSON."""
    manager = config.pluginmanager
    files = [*sources.loaded(plugin for _, plugin in manager.list_name_plugin()), *_not_installed(manager)]
    tables = {path: sorted(read) for path, read in toml_tables.READ.items()}
    return json.dumps({"files": [vars(one) for one in files], "plugins": dict(_plugins(config)), "tables": tables})


def _not_installed(manager: pytest.PytestPluginManager) -> Iterator[sources.Loaded]:
    """The distributions of plugins that stand elsewhere than installed ones, as files without a hash.

    `python -m pytest` looks for distributions in the current folder first, where anybody may have put one.
    """
    for _, distribution in manager.list_plugin_distinfo():
        name, folder = distribution.metadata["Name"], Path(str(distribution.locate_file("")))
        if not sources.is_installed(f"{folder}{os.sep}") and folder.resolve() != Path(sources.PACKAGE).parent:
            yield sources.Loaded(name, str(folder / name), "")


def _plugins(config: pytest.Config) -> Iterator[tuple[str, str | None]]:
    """(name, version) of every plugin, without pytest's own, this package's and conftest files.

    The name is that of the distribution, or that of the module if there is no distribution.
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
        if module.startswith(_OWN) or any(plugin is one for one in (manager, *manager._conftest_plugins)):
            continue
        of_modules = of_modules or metadata.packages_distributions()
        names: Iterable[str] = of_modules.get(module.partition(".")[0], ())
        for distribution in names:
            if distribution != "pytest":
                yield distribution, metadata.version(distribution)
        if not names:
            yield module or name, None


def _short(path: str, bases: Iterable[str]) -> str:
    """The path below the first of these folders that holds it."""
    real = sources.real(path)
    return next((real.removeprefix(base) for base in bases if real.startswith(base)), path)
