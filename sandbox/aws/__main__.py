"""`python -m sandbox.aws --port N`: moto's server on loopback, without a request log, until SIGTERM."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Import every backend that GLI's stack uses, then listen, so that the first call is as quick as the others."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.aws")
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"

    gc.disable()  # the objects that imports create are never freed: collecting would take a third of the import time
    from sandbox.aws.server import Application, serve

    application = Application()
    gc.freeze()
    gc.enable()
    serve(application, port)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
