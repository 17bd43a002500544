"""Builds the package: beside `gli` it carries the checks, the catalogue and the checklists, for `gli init` to write.

They stand at the top of the repository, where pytest and people look for them, and in `gli/suite` in the wheel.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SUITE = ("tests_smoke", "tests_infra", "checklists", "conftest.py", "pytest.ini")


class BuildWithSuite(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in SUITE:
            source, target = Path(name), Path(self.build_lib, "gli", "suite", name)
            if source.is_dir():
                shutil.copytree(
                    source,
                    target,
                    dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__", "sign-offs", "waivers.toml"),
                )
            else:
                shutil.copy(source, target)


setup(cmdclass={"build_py": BuildWithSuite})
