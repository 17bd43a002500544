"""Parts of ECS that moto lacks: a service's tasks, its deployment settings, and its past deployments.

They are stored on moto's own objects and sent by moto's serialiser, so boto3 receives the shapes that AWS sends.
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ecr.models import ecr_backends
from moto.ecs.models import ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse as Responses
from moto.elbv2.models import elbv2_backends

from sandbox.aws import played_deployments


def apply() -> None:
    """Patch moto in this process, once."""
    create = Responses.create_service

    def created(self: Any) -> ActionResult:
        answer = create(self)
        service = answer.result["service"]
        service.deployment_configuration = self._get_param("deploymentConfiguration")
        service.enable_execute_command = bool(self._get_param("enableExecuteCommand"))
        service.health_check_grace_period_seconds = self._get_param("healthCheckGracePeriodSeconds")
        return answer

    Responses.create_service = created
    Responses.list_tasks = _list_tasks
    Responses.describe_tasks = _describe_tasks
    Responses.list_service_deployments = _list_service_deployments


def start(service: Any) -> None:
    """Replace a service's tasks by new ones, as many as it wants. Stopped tasks stay on record."""
    running = [_task(service, n) for n in range(service.desired_count)] if service.task_definition else []
    service.played_tasks = [*running, *(t for t in stopped(service))]


def stopped(service: Any) -> list[dict[str, Any]]:
    """The stopped tasks that ECS still remembers."""
    return [t for t in getattr(service, "played_tasks", []) if t["desiredStatus"] == "STOPPED"]


def running(service: Any) -> list[dict[str, Any]]:
    """The running tasks: as many as the service's running count."""
    found = [t for t in getattr(service, "played_tasks", []) if t["desiredStatus"] == "RUNNING"]
    return found[: service.running_count]


def _task(service: Any, number: int) -> dict[str, Any]:
    definition = service._backend.describe_task_definition(service.task_definition)
    identifier = uuid5(NAMESPACE_URL, f"{definition.arn} {number}").hex
    zones = _zones(service)
    lets_in = getattr(service, "enable_execute_command", False)
    agents = [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING", "lastStartedAt": utcnow()}] if lets_in else []
    checked = any("healthCheck" in c for c in definition.container_definitions)
    return {
        "taskArn": service.arn.replace(
            f":service/{service.cluster_name}/{service.name}", f":task/{service.cluster_name}/{identifier}"
        ),
        "clusterArn": service.cluster_arn,
        "group": f"service:{service.name}",
        "taskDefinitionArn": definition.arn,
        "launchType": "FARGATE",
        # the sandbox's images are built for this CPU, whatever a task definition says
        "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
        "desiredStatus": "RUNNING",
        "lastStatus": "RUNNING",
        "startedAt": utcnow(),
        "availabilityZone": zones[number % len(zones)],
        "healthStatus": "HEALTHY" if checked else "UNKNOWN",
        "attachments": [
            {
                "id": identifier,
                "type": "ElasticNetworkInterface",
                "status": "ATTACHED",
                "details": [{"name": "privateIPv4Address", "value": _address(service, number)}],
            }
        ],
        "containers": [
            {
                "name": c["name"],
                "image": c["image"],
                "imageDigest": _digest(service, c["image"]),
                "lastStatus": "RUNNING",
                "managedAgents": agents,
            }
            for c in definition.container_definitions
        ],
    }


def _zones(service: Any) -> list[str]:
    """The zones of the service's subnets, over which ECS spreads the tasks."""
    subnets = (service.network_configuration or {}).get("awsvpcConfiguration", {}).get("subnets", [])
    known = ec2_backends[service._account_id][service.region_name].describe_subnets(subnet_ids=subnets or None)
    return sorted({subnet.availability_zone for subnet in known})


def _address(service: Any, number: int) -> str:
    """The address under which the target group knows the task; one of its own for a task that is not registered.

    A new task gets the address of the one that it replaces: nothing here registers targets in a deploy.
    """
    before = [t for t in getattr(service, "played_tasks", []) if t["desiredStatus"] == "RUNNING"]
    if number < len(before):
        return str(before[number]["attachments"][0]["details"][0]["value"])
    groups = elbv2_backends[service._account_id][service.region_name].target_groups
    wanted = [lb.get("targetGroupArn") for lb in service.load_balancers or []]
    known = [id for arn in wanted if arn in groups for id in groups[arn].targets]
    return str(known[number].split(":")[0]) if number < len(known) else f"10.99.0.{number % 250 + 4}"


def _digest(service: Any, image: str) -> str | None:
    """The digest that the image's tag has in the registry now; a new task pulls this digest."""
    name, _, tag = image.partition("/")[2].partition("@")[0].partition(":")
    repositories = ecr_backends[service._account_id][service.region_name].repositories
    images = repositories[name].images if name in repositories else []
    return next((i.get_image_digest() for i in images if tag in i.image_tags), None)


def _services(responses: Any) -> list[Any]:
    cluster = str(responses._get_param("cluster", "default")).rpartition("/")[2]
    services = ecs_backends[responses.current_account][responses.region].services.values()
    return [s for s in services if s.cluster_name == cluster]


def _list_tasks(self: Any) -> ActionResult:
    wanted = running if self._get_param("desiredStatus", "RUNNING") == "RUNNING" else stopped
    name = self._get_param("serviceName")
    found = [t["taskArn"] for s in _services(self) if name in (None, s.name, s.arn) for t in wanted(s)]
    return ActionResult({"taskArns": found})


def _describe_tasks(self: Any) -> ActionResult:
    wanted = set(self._get_param("tasks", []))
    known = [t for s in _services(self) for t in getattr(s, "played_tasks", [])]
    known += played_deployments.TASKS.values()
    return ActionResult({"tasks": [t for t in known if t["taskArn"] in wanted], "failures": []})


def _list_service_deployments(self: Any) -> ActionResult:
    name = self._get_param("service")
    services = [s for s in _services(self) if name in (s.name, s.arn) and s.deployments]
    wanted = self._get_param("status", [])
    found = [d for s in services for d in (*played_deployments.all_of(s), played_deployments.rolled(s))]
    found = [d for d in found if not wanted or d["status"] in wanted]
    return ActionResult({"serviceDeployments": found})


# Actions of the overlay (sandbox.aws.surgery): each returns the arguments that undo it.


def task_digest(region: str, cluster: str, service: str, digest: str | None) -> dict[str, Any]:
    """Let the first running task run an image with this digest."""
    container = running(_found(region, cluster, service))[0]["containers"][0]
    before, container["imageDigest"] = container["imageDigest"], digest
    return {"region": region, "cluster": cluster, "service": service, "digest": before}


def task_fields(region: str, cluster: str, service: str, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Set fields of the running tasks, in their order, named as in DescribeTasks."""
    before = []
    for task, change in zip(running(_found(region, cluster, service)), changes, strict=False):
        before.append({key: task[key] for key in change})
        task.update(change)
    return {"region": region, "cluster": cluster, "service": service, "changes": before}


def events(region: str, cluster: str, service: str, messages: list[str]) -> dict[str, Any]:
    """Make these the only events of the service, from a moment ago."""
    _found(region, cluster, service).events = [
        {"id": uuid5(NAMESPACE_URL, message).hex, "createdAt": utcnow(), "message": message} for message in messages
    ]
    return {"region": region, "cluster": cluster, "service": service, "messages": []}


def task_stopped(region: str, cluster: str, service: str, ends: list[dict[str, Any]]) -> dict[str, Any]:
    """Make these the stopped tasks, from a moment ago; `ends` has the fields of DescribeTasks for each."""
    found = _found(region, cluster, service)
    found.played_tasks = [t for t in found.played_tasks if t["desiredStatus"] == "RUNNING"]
    for number, end in enumerate(ends, start=1000):
        task = {**_task(found, number), "desiredStatus": "STOPPED", "lastStatus": "STOPPED", "stoppedAt": utcnow()}
        container = task["containers"][0] | end.pop("container", {})
        found.played_tasks.append({**task, **end, "containers": [container]})
    return {"region": region, "cluster": cluster, "service": service, "ends": []}


def deployment(region: str, cluster: str, service: str, status: str, reason: str | None = None) -> dict[str, Any]:
    """Set how the service's last deployment ended."""
    found = _found(region, cluster, service)
    before = getattr(found, "played_deployment", ("SUCCESSFUL", None))
    found.played_deployment = (status, reason)
    return {"region": region, "cluster": cluster, "service": service, "status": before[0], "reason": before[1]}


def _found(region: str, cluster: str, service: str) -> Any:
    return ecs_backends[DEFAULT_ACCOUNT_ID][region].services[f"{cluster}:{service}"]
