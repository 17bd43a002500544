"""The catalogue: everything about a check but its assertion, and the targets of an environment on which it runs.

The check `sg-db-ingress` is the function `test_sg_db_ingress`; its row `[sg-db-ingress]` in `checklists/checks.toml`
holds the rest. A case is one check on one target. Every case must report an outcome.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any

import gli
from gli.common import sources
from gli.common.documents import content
from gli.common.errors import UsageError
from gli.config import checklists, rds_roots, toml_tables
from gli.config.check import Case, Check, case_of
from gli.config.checklists import Checklist
from gli.config.environments import FILE as ENVIRONMENTS
from gli.config.environments import Environment
from gli.config.targets import GROUPS, Absent
from gli.config.toml_models import validated

FILE = Path("checklists/checks.toml")
WAIVERS = Path("checklists/waivers.toml")
OWN = Path("tests_own")
"""A project's own checks beside those of the package: rows, items, checks and the fixtures of their probes."""
FOLDERS = ("tests_smoke", "tests_infra", str(OWN))
"""The folders of checks."""
PYTEST_SETTINGS = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""The files that pytest takes its settings from: https://docs.pytest.org/en/stable/reference/customize.html."""


@dataclass(frozen=True)
class Catalogue:
    """Every check by id, and the checklists of a deployment."""

    checks: Mapping[str, Check]
    checklists: Mapping[str, Checklist]
    """The checklist of each phase."""
    root: Path

    @cached_property
    def _deciding(self) -> list[tuple[Path, Path]]:
        return _deciding(self.root)

    @cached_property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of every file that decides what a verdict means, by its real path: the catalogue, the checklists,
        the waivers, the environments with the authorities that they trust, pytest's settings, the checks, and this
        package. As they are when they are first asked for; empty for a file that is not there.
        """
        return {sources.real(path): _hash(path) for _, path in self._deciding}

    @cached_property
    def sha256(self) -> str:
        """One digest of these files, with their names."""
        digest = hashlib.sha256()
        for name, path in self._deciding:
            line = f"{name}\n{self.files[sources.real(path)]}\n"
            digest.update(line.encode(errors="surrogateescape"))  # a name may be no text
        return digest.hexdigest()

    @cached_property
    def docstrings(self) -> Mapping[str, str]:
        """What each check proves, by its function: see `docstrings`."""
        return docstrings(self.root)

    def targets(self, check: Check, environment: Environment) -> dict[str, Any]:
        """The targets of a check in an environment: name to table, sorted by name. The table of a part that is declared
        absent is an `Absent`.
        """
        found = GROUPS[check.each].of(environment)
        return {
            n: found[n]
            for n in sorted(found)
            if isinstance(found[n], Absent) or check.lacks(found[n], environment) is None
        }

    def left_out(self, check: Check, environment: Environment) -> dict[str, str]:
        """Why a check is not asked: name of each target to the key that it lacks; one entry with an empty name where
        the environment has no such target at all.
        """
        group = GROUPS[check.each]
        found = group.of(environment)
        if not found:
            return {"": group.missing.replace("{}", environment.name)}
        lacking = {n: check.lacks(t, environment) for n, t in found.items() if not isinstance(t, Absent)}
        return {n: lacks for n, lacks in sorted(lacking.items()) if lacks is not None}

    def cases(self, environment: Environment, phase: str | None) -> tuple[Case, ...]:
        """Every case that must report in a run of the phase, in the catalogue's order: the checks of the phase, and the
        checks that an item of the phase's checklist needs here.
        """
        checks = self.asked_in(environment, phase)
        return tuple(case for check in checks for case in self.cases_of(check, environment))

    def cases_of_cells(self, environment: Environment, phase: str | None) -> tuple[Case, ...]:
        """Every case that the cells of an environment must report together; those of the environment if it has none."""
        sides = [environment.as_cell(name) for name in environment.cells] or [environment]
        found = {case.key: case for side in sides for case in self.cases(side, phase)}
        order = list(self.checks)
        return tuple(sorted(found.values(), key=lambda case: order.index(case.check.id)))

    def cases_of(self, check: Check, environment: Environment) -> tuple[Case, ...]:
        """The cases of one check in an environment."""
        targets = self.targets(check, environment)
        return tuple(case_of(check, name, table, environment) for name, table in targets.items())

    def asked_in(self, environment: Environment, phase: str | None) -> tuple[Check, ...]:
        """The checks that a run of the phase would ask here if the environment had every target."""
        checklist = self.checklists.get(phase or "")
        return tuple(
            check
            for check in self.checks.values()
            if check.runs_in(phase) or (checklist is not None and checklist.asks(check.id, environment))
        )

    def refuse_unmatched(self, environment: Environment) -> None:
        """Raises `UsageError` for an entry of `not_applicable` that covers no case of the environment. An entry that
        `extends` brought may cover none here: it was written for another environment.
        """
        if environment.inherits_not_applicable:
            return
        keys = [(check.id, name) for check in self.checks.values() for name in self.targets(check, environment)]
        for entry in environment.not_applicable:
            if not any(entry.covers(*key) for key in keys):
                name, covered = environment.name, f"{entry.check}[{entry.target}]"
                raise UsageError(
                    f"{ENVIRONMENTS}: [[{name}.not_applicable]] {covered} covers no case of {name}; "
                    f"mend its spelling or take it out (`gli checks --env {name}` lists the cases)"
                )


def load(root: Path) -> Catalogue:
    """The catalogue of `root`; raises `UsageError` for anything wrong in it."""
    rows = toml_tables.read(root / FILE, FILE, missing="run from the project's root, or write one with `gli init`")
    rows = toml_tables.with_own(rows, root, OWN / FILE.name, FILE)
    checks = {id_: _check(id_, row) for id_, row in rows.items()}
    _refuse_unknown_causes(checks)
    _refuse_cycles(checks)
    listed = checklists.load(root)
    for checklist in listed.values():
        _refuse_unknown_checks(checks, checklist)
    _refuse_unfinished(root, checks, listed)
    return Catalogue(checks=checks, checklists=listed, root=root)


def _deciding(root: Path) -> list[tuple[Path, Path]]:
    """Every file that decides what a verdict means: its name and its path."""
    package = Path(gli.__file__).parent
    files = [root / f for f in (FILE, WAIVERS, *map(checklists.file_of, checklists.PHASES))]
    files += [root / ENVIRONMENTS, *(root / settings for settings in PYTEST_SETTINGS), root / "conftest.py"]
    files += [path for folder in FOLDERS for path in sorted(root.glob(f"{folder}/**/*.py"))]
    files += sorted(root.glob(f"{OWN}/*.toml"))
    named = [(path.relative_to(root), path) for path in files]
    named += [(Path(name), root / name) for name in (str(rds_roots.FILE), *_ca_files(root))]
    return named + [(path.relative_to(package.parent), path) for path in sorted(package.glob("**/*.py"))]


def _ca_files(root: Path) -> list[str]:
    """The files of trusted authorities that `environments.toml` names, as it names them."""
    try:
        tables = toml_tables.read_tables(root)
    except UsageError:
        return []  # no environment can be loaded either
    found = [table.get("tls") for table in tables.values() if isinstance(table, dict)]
    trusted = [tls for tls in found if isinstance(tls, dict)]
    return sorted({str(path) for tls in trusted for key, path in tls.items() if key.endswith("ca_file")})


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def proved(catalogue: Catalogue, language: str) -> dict[str, str]:
    """What each check proves, by the check's id: the sentence of its row in the language, or else its function's
    docstring.
    """
    english = catalogue.docstrings
    korean = {c.id: c.proves.ko for c in catalogue.checks.values()} if language == "ko" else {}
    return {c.id: korean.get(c.id) or english.get(c.function, "") for c in catalogue.checks.values()}


def docstrings(root: Path) -> dict[str, str]:
    """What each check proves: the docstring of each test function. The files are compiled, not imported.

    Raises `UsageError` if two functions have the same name: Python would drop the first one, and its check with it,
    without a word.
    """
    proved: dict[str, str] = {}
    for path in sorted(path for folder in FOLDERS for path in root.glob(f"{folder}/**/*.py")):
        for function in _functions(_compiled(path)):
            name = function.__name__
            if name in proved:
                where = path.relative_to(root)
                raise UsageError(f"{where}: {name} is defined a second time; give each check its own name")
            if name.startswith("test"):
                proved[name] = " ".join((function.__doc__ or "").split())
    return proved


def _functions(code: CodeType) -> Iterator[FunctionType]:
    """The functions in a module, a class or a function, at any depth."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & inspect.CO_OPTIMIZED:  # the body of a class is not
                yield FunctionType(inner, {}, closure=tuple(CellType() for _ in inner.co_freevars))
            yield from _functions(inner)


def _compiled(path: Path) -> CodeType:
    try:
        return sources.compiled_ahead(str(path), content(path))
    except (SyntaxError, ValueError, OSError):  # a folder, a pipe or a lost link may have such a name too
        return compile("", str(path), "exec")  # pytest's collection reports the syntax error and its line


def _check(id_: str, row: Any) -> Check:
    check = validated(Check, row, file=FILE, name=id_, id=id_)
    if check.each not in GROUPS:
        raise UsageError(
            f"{FILE}: [{id_}] each = {check.each!r} is no group of targets; there are: {', '.join(GROUPS)}"
        )
    return check


def _refuse_unknown_causes(checks: Mapping[str, Check]) -> None:
    for check in checks.values():
        for cause in check.causes:
            if cause not in checks:
                raise UsageError(
                    f"{FILE}: [{check.id}] causes names {cause!r}, which is not a check; correct the spelling"
                )


def _refuse_unknown_checks(checks: Mapping[str, Check], checklist: Checklist) -> None:
    for item in checklist.items.values():
        for id_ in item.checks:
            if id_ not in checks:
                raise UsageError(
                    f"{checklist.path}: [{item.id}] checks names {id_!r}, which is not a check; correct the spelling"
                )


def _refuse_unfinished(root: Path, checks: Mapping[str, Check], listed: Mapping[str, Checklist]) -> None:
    """A check needs a row, an item of a checklist, and a function. Raises `UsageError` with all missing parts."""
    for check in checks.values():
        homeless = [c.path for c in listed.values() if check.runs_in(c.phase) and not c.names(check.id)]
        if homeless:
            missing = [
                f"{path}: the check {check.id} stands in no item; add it to the one it proves" for path in homeless
            ]
            if check.function not in docstrings(root):
                missing.append(f"{FILE}: [{check.id}] has no test; write def {check.function}")
            raise UsageError(". ".join(missing))


def _refuse_cycles(checks: Mapping[str, Check]) -> None:
    done: set[str] = set()

    def walk(id_: str, path: tuple[str, ...]) -> None:
        if id_ in path:
            circle = " -> ".join((*path[path.index(id_) :], id_))
            raise UsageError(f"{FILE}: causes go in a circle: {circle}; take one of them out")
        if id_ not in done:
            for cause in checks[id_].causes:
                walk(cause, (*path, id_))
            done.add(id_)

    for id_ in checks:
        walk(id_, ())
