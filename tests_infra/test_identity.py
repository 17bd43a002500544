"""The identity of the run."""

from gli.observe.aws.identity import Identity


def test_aws_caller_identity(caller_identity: Identity) -> None:
    """The credentials belong to the environment's account and to the role that may only read."""
    assert caller_identity.objection is None, caller_identity.objection
