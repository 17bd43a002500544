"""RDS, ElastiCache and the secrets that lead to them."""

from gli.environments import Environment
from gli.observe.aws.data import DatabaseInstance, ReplicationGroup
from gli.observe.secrets import Secret
from gli.saying import listed, saw

_BUSY_BUT_SERVING = ("available", "backing-up", "modifying", "snapshotting", "storage-optimization")


def test_db_instance_available(database_instance: DatabaseInstance) -> None:
    """The database instance is there and serves."""
    assert database_instance.status in _BUSY_BUT_SERVING, saw(
        database_instance.status, expected=f"{database_instance.id} available"
    )


def test_redis_available(replication_group: ReplicationGroup) -> None:
    """The cache is there and serves."""
    assert replication_group.status in _BUSY_BUT_SERVING, saw(
        replication_group.status, expected=f"{replication_group.id} available"
    )


def test_secret_exists(secret_state: Secret) -> None:
    """The secret exists, is not scheduled for deletion and has a current version."""
    assert secret_state.exists, saw("none", expected=f"the secret {secret_state.id}")
    assert secret_state.deleted_on is None, saw(
        f"scheduled for deletion ({secret_state.deleted_on:%Y-%m-%d})" if secret_state.deleted_on else "",
        expected=f"the secret {secret_state.id} to stay",
    )
    assert secret_state.has_current_version, saw("none", expected=f"a current version of {secret_state.id}")


def test_secret_fields(secret: Secret, environment: Environment, endpoints: dict[str, str | None]) -> None:
    """The secret has the fields that the application reads, and leads to this environment's own resources."""
    if secret.id in endpoints:
        wanted = {"username", "password", "host", "port"}
        missing = sorted(wanted - set(secret.fields))
        assert not missing, saw(f"no {listed(missing)}", expected=f"{listed(sorted(wanted))} in {secret.id}")
        host = endpoints[secret.id]
        assert host is None or secret.public["host"] == host, saw(
            secret.public["host"], expected=f"{secret.id} to lead to {host}, the endpoint of {environment.name}"
        )
    assert secret.fields, saw("no field", expected=f"fields in {secret.id}")
