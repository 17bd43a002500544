"""A run under pytest. The modules that judge are compiled from source, never loaded from cached bytecode.

`python -m pytest` looks for modules in the current folder first, where a file `json.py` would take the place of
Python's own module. So that folder comes last while the plugin and all that it needs are imported.
"""

import sys
from pathlib import Path

_here = sys.path[:1] == [str(Path.cwd())]
if _here:
    sys.path.append(sys.path.pop(0))

from gli.common import sources  # noqa: E402

sources.compile_from_source()

from gli.run import plugin  # noqa: E402, F401 - with all that it imports

if _here:
    sys.path.insert(0, sys.path.pop())
