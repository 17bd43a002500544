"""The trailers of the commits that a release makes: which operation made the commit, and whose tree it restores.

Source of truth: git-interpret-trailers(1) for the format; `gli.release.plan` writes them.
"""

from __future__ import annotations

import re

RELEASE_ID = re.compile(r"^Release-Id: (?P<id>\S+)$", re.MULTILINE)
RESTORES = re.compile(r"^Restores: (?P<commit>[0-9a-f]{40,64})$", re.MULTILINE)
