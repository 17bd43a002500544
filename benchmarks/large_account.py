"""Reads a large AWS account: how long the probes take, what they send, and how much memory this process takes.

The account has 300 roles (3 MB in one answer), 60 distributions, 2,000 alarms and 40 services in one cluster. An answer
of IAM takes 5 seconds, and a page of a busy log group takes 2.5 seconds. botocore's clients are real; the answers come
from `tests/test_aws_size.py`. Limits: 90 seconds and 250 MB.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import pytest  # noqa: E402
from test_aws_size import large, observe  # noqa: E402

MOST_S, MOST_MB = 90, 250


def main() -> int:
    account = large()
    account.takes_s = {"iam.GetAccountAuthorizationDetails": 5.0, "logs.FilterLogEvents": 2.5}
    with pytest.MonkeyPatch.context() as patched:
        begun = time.monotonic()
        observe(account, patched)
        seconds = time.monotonic() - begun
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    for operation, times in sorted(account.calls.items()):
        print(f"{times:4}  {operation}")
    print(f"{sum(account.calls.values())} calls, {seconds:.1f} s, {megabytes:.0f} MB")
    return 0 if seconds <= MOST_S and megabytes <= MOST_MB else 1


if __name__ == "__main__":
    sys.exit(main())
