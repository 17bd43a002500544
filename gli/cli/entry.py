"""The entry point of `gli`. `gli pull BRANCH` is typed all day, so it starts without importing click."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from pathlib import Path

from gli.common import standard_streams
from gli.common.bound_process import hear_children
from gli.common.errors import UsageError


def main() -> None:
    """Run the command of this process's arguments."""
    spare_garbage()
    hear_children()
    if not standard_streams.output_is_open():
        print(f"gli: {standard_streams.CLOSED}", file=sys.stderr)
        sys.exit(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: an odd name must not stop the run
    if len(sys.argv) == 3 and sys.argv[1] == "pull" and not sys.argv[2].startswith("-"):
        sys.exit(_pull(sys.argv[2]))
    from gli.cli.group import main as cli

    try:
        cli()
    except OSError as e:  # help texts and the like: a command itself ends with `gli.cli.options.sentences`
        if not standard_streams.has_no_room(e):
            raise
        sys.exit(_unwritten(e))


def spare_garbage() -> None:
    """Disables garbage collection, also at exit: commands are too short for it to pay off."""
    gc.disable()
    atexit.register(gc.freeze)


def _pull(branch: str) -> int:
    """Does the same as `gli.cli.pull` without options. Returns the exit code."""
    from gli.config import toml_tables
    from gli.release import pull

    try:
        root = Path.cwd()
        name = os.environ.get("GLI_ENV") or toml_tables.default_environment(root)
        code = pull.told(root, name, branch, lambda line: print(line, flush=True))
        sys.stdout.flush()
        return code
    except OSError as e:  # the reader closed the pipe, or the disk is full; no git runs any more
        if isinstance(e, BrokenPipeError):
            standard_streams.leave_output()
            return 1
        return _unwritten(e)
    except UsageError as e:
        print(f"gli: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nAborted!", file=sys.stderr)
        return 1


def _unwritten(error: OSError) -> int:
    """Says on stderr that the output can't be written. Returns the exit code."""
    standard_streams.leave_output()
    print(f"gli: the output can't be written: {error.strerror}", file=sys.stderr)
    return 3
