"""The trailers of commits that a release makes: which operation made it, and whose tree it has put back.

Source of truth: git-interpret-trailers(1) for the form, `gli.release.plan` for who writes them.
"""

from __future__ import annotations

import re

RELEASE_ID = re.compile(r"^Release-Id: (?P<id>\S+)$", re.MULTILINE)
RESTORES = re.compile(r"^Restores: (?P<commit>[0-9a-f]{40,64})$", re.MULTILINE)
