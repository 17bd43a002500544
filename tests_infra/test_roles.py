"""IAM roles of the tasks: enough to start, and not enough to harm."""

from gli.observe.aws.roles import TASKS, ExecutionRole, Role
from gli.saying import listed, saw


def test_iam_execution_role(execution_role: ExecutionRole) -> None:
    """ECS may take the execution role, and with it pull the image, write the log and read every secret referred to."""
    role = execution_role.role
    assert role is not None, saw("none", expected=f"an execution role for {execution_role.definition}")
    assert role.exists, saw("no such role", expected=f"the execution role {role.name} of {execution_role.definition}")
    assert TASKS in role.trusted, saw(listed(role.trusted), expected=f"{role.name} to trust {TASKS}")
    assert not execution_role.missing, saw(
        f"no {listed(execution_role.missing, most=2)}",
        expected=f"{role.name} to allow what {execution_role.definition} needs",
    )


def test_iam_task_role_least(task_role: Role | None) -> None:
    """The service's own role exists and is no administrator's: no wildcard action on every resource."""
    assert task_role is not None, saw("none", expected="a task role")
    assert task_role.exists, saw("no such role", expected=f"the task role {task_role.name}")
    assert not task_role.administrative, saw(
        listed(task_role.administrative), expected=f"{task_role.name} to allow single actions on named resources"
    )
