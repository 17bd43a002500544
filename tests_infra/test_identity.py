"""The identity of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gli.observe.aws.identity import Identity


def test_aws_caller_identity(caller_identity: Identity) -> None:
    """The credentials belong to the environment's account and to the role that may only read."""
    assert caller_identity.objection is None, caller_identity.objection
