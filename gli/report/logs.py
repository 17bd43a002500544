"""What libraries log, without secrets: pytest shows and writes it where --log-cli-level and --log-file ask it to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


def redacted_by(redact: Callable[[str], str]) -> Callable[[], None]:
    """Every record passes `redact` from now on, and none is made below INFO; what this returns undoes it."""
    factory, disabled = logging.getLogRecordFactory(), logging.root.manager.disable

    def redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        record.msg, record.args = redact(_message(record)), None
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None  # a formatter prints the text, and has nothing to make another from
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return record

    def undo() -> None:
        logging.setLogRecordFactory(factory)
        logging.disable(disabled)

    logging.setLogRecordFactory(redacted)
    # At DEBUG libraries log whole answers (botocore) and headers (httpcore): a secret before anybody knows it for one.
    logging.disable(max(disabled, logging.DEBUG))
    return undo


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - whoever logs with the wrong arguments goes on, as with any other factory
        return f"{record.msg} {record.args}"
