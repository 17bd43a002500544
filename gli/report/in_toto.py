"""A verdict as an in-toto statement, which CI signs: what was verified, and how each check ended.

Source of truth: in-toto Statement v1, the predicate test-result v0.1, DigestSet (`gitCommit`, `sha256`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gli.judge.outcome import Outcome
from gli.judge.verdict import Verdict

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


def statement(verdict: Verdict, images: Mapping[str, str]) -> dict[str, Any]:
    """The statement about a verdict. `images`: the name of each image that was found, to its digest (`sha256:…`).

    The result is PASSED for a GO, WARNED for a GO with a red check that does not block, FAILED otherwise. A check that
    was waived, or could not be judged, is no passed test.
    """
    passed: list[str] = []
    warned: list[str] = []
    failed: list[str] = []
    for check in verdict.checks:
        if check.outcome is Outcome.PASSED:
            passed.append(str(check.key))
        elif check.outcome is not Outcome.NOT_APPLICABLE:
            spared = check.severity == "warn" or check.outcome is Outcome.WAIVED
            (warned if spared else failed).append(str(check.key))
    commits = [{"name": name, "digest": {"gitCommit": part["commit"]}} for name, part in verdict.manifest.items()]
    built = [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}} for name, digest in images.items()]
    return {
        "_type": STATEMENT,
        "subject": [*commits, *built],
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": ("WARNED" if warned else "PASSED") if verdict.go else "FAILED",
            "configuration": [
                {"name": "catalogue", "digest": {"sha256": verdict.suite.catalogue_sha256}},
                {"name": "verdict.json", "digest": {"sha256": verdict.digest}},
            ],
            "passedTests": passed,
            "warnedTests": warned,
            "failedTests": failed,
        },
    }
