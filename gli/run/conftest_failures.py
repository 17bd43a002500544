"""Why a conftest file could not be read, in one sentence without secrets."""

from __future__ import annotations

import traceback

from _pytest.config import ConftestImportFailure

from gli.report.redact import Redactor, carried


def told(error: BaseException) -> str:
    """The sentence: which file, where in it, and the exception."""
    file, cause = (error.path, error.cause) if isinstance(error, ConftestImportFailure) else ("a conftest file", error)
    frames = traceback.extract_tb(cause.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return Redactor(carried()).text(f"{file} can't be imported: {where}{type(cause).__name__}: {cause}")
