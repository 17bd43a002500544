"""ECS and the load balancer: the services that should run, the tasks that run, and the routes to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gli.common.sentences import either, listed, phrase, saw
from gli.observe.aws.load_balancer import (
    ACTIONS,
    TARGET_STATES,
    Balancer,
    BalancerAttributes,
    HealthCheck,
    Rule,
    TargetGroupHealth,
)
from gli.observe.engine.observation import one_of, told, unknown

if TYPE_CHECKING:
    from gli.config.environments import Environment
    from gli.config.services import LoadBalancer, Service
    from gli.observe.aws.codedeploy import DeploymentGroup
    from gli.observe.aws.ecr import RunningImage
    from gli.observe.aws.ecs_services import Cluster, EcsService
    from gli.observe.aws.task_definitions import TaskDefinition

_CLUSTER = frozenset({"ACTIVE", "PROVISIONING", "DEPROVISIONING", "FAILED", "INACTIVE", "MISSING"})
_SERVICE = frozenset({"ACTIVE", "DRAINING", "INACTIVE", "MISSING"})
_OF_HTTP = frozenset({"HTTP", "HTTPS"})
_DEFINITION = frozenset({"ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"})
_DEPLOYMENT = frozenset({"PRIMARY", "ACTIVE", "INACTIVE", "DRAINING"})  # DRAINING: a task set
_BALANCER_TYPE = frozenset({"application", "network", "gateway"})
_BALANCER = frozenset({"active", "provisioning", "active_impaired", "failed", "missing"})
LEAST_OF_A_NETWORK_BALANCER_S = 60
LONGEST_SICK_S = 300


def test_ecs_cluster_active(clusters: Sequence[Cluster], target: Service) -> None:
    """The service's cluster exists and is active."""
    assert target.ecs is not None
    status = {c.name: c.status for c in clusters}[target.ecs.cluster]
    one_of(_CLUSTER, status, phrase("the status of {}", target.ecs.cluster))
    assert status == "ACTIVE", saw(status, expected=phrase("the cluster {} ACTIVE", target.ecs.cluster))


def test_ecs_service_active(ecs_service: EcsService) -> None:
    """The service exists, is active and wants tasks."""
    one_of(_SERVICE, ecs_service.status, phrase("the status of {}", ecs_service.name))
    assert ecs_service.status == "ACTIVE", saw(ecs_service.status, expected=phrase("{} ACTIVE", ecs_service.name))
    assert ecs_service.desired >= 1, saw(
        phrase("scaled to 0"), expected=phrase("{} to want at least one task", ecs_service.name)
    )


def test_ecs_running_count(ecs_service: EcsService) -> None:
    """All wanted tasks run, and none is still starting."""
    seen = phrase("{} running and {} pending of {}", ecs_service.running, ecs_service.pending, ecs_service.desired)
    expected = phrase("{} running tasks of {}", ecs_service.desired, ecs_service.name)
    assert ecs_service.running == ecs_service.desired and ecs_service.pending == 0, saw(seen, expected=expected)


def test_ecs_rollout_completed(ecs_service: EcsService) -> None:
    """The PRIMARY deployment finished. The right number of tasks can run while it, or a newer one, is still in
    progress.
    """
    primary = ecs_service.primary
    expected = phrase("the rollout of {} COMPLETED", ecs_service.name)
    if primary.rollout not in ("COMPLETED", "IN_PROGRESS", "FAILED"):
        raise unknown(
            "error", phrase("the rollout of {} is {}, a state not known here", ecs_service.name, primary.rollout)
        )
    assert primary.rollout == "COMPLETED", saw(
        phrase("{}: {}", primary.rollout, primary.reason or phrase("no reason given")), expected=expected
    )
    newer = [d.task_definition.rpartition("/")[2] for d in ecs_service.deployments if d.rollout == "IN_PROGRESS"]
    assert not newer, saw(phrase("{} IN_PROGRESS", listed(newer)), expected=expected)


def test_ecs_single_deployment(ecs_service: EcsService) -> None:
    """No old deployment still serves traffic."""
    for deployment in ecs_service.deployments:
        one_of(_DEPLOYMENT, deployment.status, phrase("the status of a deployment of {}", ecs_service.name))
    serving = [d for d in ecs_service.deployments if d.serves]
    seen = [phrase("{} {} ({} running)", d.status, d.task_definition.rpartition("/")[2], d.running) for d in serving]
    assert len(serving) == 1, saw(listed(seen), expected=phrase("one deployment of {}", ecs_service.name))


def test_ecs_expected_image(running_image: RunningImage) -> None:
    """The PRIMARY deployment runs the build of the branch's head. A service after a rollback is stable, but on the OLD
    build.
    """
    assert running_image.as_expected, saw(
        running_image.image, expected=phrase("an image tagged {}", running_image.expected)
    )


def test_ecs_circuit_breaker(
    ecs_service: EcsService, deployment_group: DeploymentGroup | None, environment: Environment
) -> None:
    """A deploy that fails stops by itself and goes back to what ran before; in production it takes no task away.

    With CodeDeploy, its automatic rollback is required. AWS does not tell what the deployer behind an EXTERNAL
    controller does.
    """
    if ecs_service.controller == "EXTERNAL":
        raise unknown(
            "vantage",
            phrase("the controller of {} is EXTERNAL: AWS does not show what its deployer does", ecs_service.name),
        )
    if deployment_group is not None:
        assert deployment_group.rolls_back, saw(
            phrase("none"), expected=phrase("an automatic rollback of failed deployments in {}", deployment_group.name)
        )
        return
    expected = phrase("the deployment circuit breaker of {} to stop a bad deploy and roll it back", ecs_service.name)
    assert ecs_service.circuit_breaker, saw(phrase("none"), expected=expected)
    assert ecs_service.rolls_back, saw(phrase("one that does not roll back"), expected=expected)
    if not environment.production:
        return
    kept = told(ecs_service.minimum_healthy_percent, phrase("the minimumHealthyPercent of {}", ecs_service.name))
    assert kept >= 100, saw(
        phrase("minimumHealthyPercent {}", kept),
        expected=phrase("all tasks of {} to be kept during a deploy", ecs_service.name),
    )


def test_ecs_hook_safe(ecs_service: EcsService) -> None:
    """A deployment that waits for a verdict at a hook is rolled back if none comes; users never get unproven tasks."""
    assert not ecs_service.hooks_going_on, saw(
        phrase("CONTINUE after the timeout at {}", listed(ecs_service.hooks_going_on)),
        expected=phrase("the hooks of {} to time out with ROLLBACK", ecs_service.name),
    )


def test_ecs_taskdef_contract(
    task_definition: TaskDefinition, dangling_references: Mapping[str, str], target: Service, environment: Environment
) -> None:
    """The task definition can be deployed: its launch type, both roles, the service's log group, secrets by reference
    only, the service's port, the environment's region, no debug mode. A task ends when its application does.
    """
    name = task_definition.name
    status = one_of(_DEFINITION, told(task_definition.status, phrase("the status of {}", name)), name)
    assert status == "ACTIVE", saw(status, expected=phrase("{} ACTIVE: a new deployment can't use another", name))
    assert target.ecs is not None, "asked only of services with an ecs table"
    launch, network = target.ecs.launch_type, target.ecs.network
    fits = launch in task_definition.compatibilities and task_definition.network_mode == network
    assert fits, saw(
        phrase("{} with {}", listed(task_definition.compatibilities), task_definition.network_mode),
        expected=phrase("{} for {} with {}", name, launch, network),
    )
    assert task_definition.execution_role, saw(phrase("none"), expected=phrase("an execution role for {}", name))
    assert task_definition.task_role, saw(phrase("none"), expected=phrase("a task role for {}", name))
    _runs_the_service(task_definition, target)
    _logs_are_kept(task_definition, target, environment)
    plain = [variable for c in task_definition.containers for variable in c.plain_secrets]
    assert not plain, saw(
        phrase("{} in plain text", listed(plain)), expected=phrase("{} to refer to its secrets", name)
    )
    region = environment.aws.region if environment.aws else None
    others = [r for c in task_definition.containers if c.name == target.ecs.container for r in c.regions if r != region]
    assert not others, saw(listed(others), expected=phrase("{} to ask AWS in {}", name, region))
    debugs = [variable for c in task_definition.containers for variable in c.debugs]
    assert not debugs, saw(phrase("{} on", listed(debugs)), expected=phrase("{} without a debug mode", name))
    at_home = task_definition.at_home
    assert not at_home, saw(
        phrase("{}: the task itself", listed(at_home)), expected=phrase("{} to name servers that there are", name)
    )
    dangling = [phrase("{}, which {}", variable, why) for variable, why in dangling_references.items()]
    assert not dangling, saw(listed(dangling), expected=phrase("every secret of {} to be found", name))


def test_alb_active(balancer: Balancer, target: LoadBalancer) -> None:
    """The load balancer is active in at least two zones, and of the type that environments.toml says."""
    one_of(_BALANCER, balancer.state, phrase("the state of {}", balancer.name))
    assert balancer.state == "active", saw(balancer.state, expected=phrase("{} active", balancer.name))
    one_of(_BALANCER_TYPE, balancer.type, phrase("the type of {}", balancer.name))
    assert balancer.type == target.type, saw(
        balancer.type, expected=phrase("{} of the type {}, as its table says", balancer.name, target.type)
    )
    assert len(balancer.zones) >= 2, saw(
        listed(balancer.zones), expected=phrase("{} in at least two zones", balancer.name)
    )


def test_alb_https_listener(balancer: Balancer, target: LoadBalancer) -> None:
    """One HTTPS listener on 443, with a certificate, and none is demanded of users. A network load balancer ends TLS,
    or passes it through.
    """
    secure = [x for x in balancer.listeners if x.port == 443]
    wanted = ("HTTPS",) if target.application else ("TLS", "TCP")
    assert len(secure) == 1 and secure[0].protocol in wanted, saw(
        listed(phrase("{}:{}", x.protocol, x.port) for x in balancer.listeners),
        expected=phrase("{}:443 on {}", either(wanted), balancer.name),
    )
    assert secure[0].certificates or secure[0].protocol == "TCP", saw(
        phrase("none"), expected=phrase("a certificate on {}:443 of {}", secure[0].protocol, balancer.name)
    )
    assert not secure[0].asks_clients, saw(
        phrase("mutual TLS"), expected=phrase("HTTPS:443 of {} to take browsers without a certificate", balancer.name)
    )


def test_alb_http_redirect(balancer: Balancer) -> None:
    """The listener on 80 does nothing but redirect to HTTPS for good."""
    plain = [x for x in balancer.listeners if x.port == 80]
    assert plain and plain[0].redirects_to == "HTTPS HTTP_301", saw(
        (plain[0].redirects_to or phrase("no redirect")) if plain else phrase("no listener on 80"),
        expected=phrase("80 redirecting: HTTPS HTTP_301"),
    )


def test_alb_host_routing(routes: Mapping[str, Rule], ecs_service: EcsService, target: Service) -> None:
    """The rule for the host's requests forwards them to groups that serve its service, and to no other group."""
    rule = routes.get(target.name)
    if rule is not None:
        one_of(ACTIONS, rule.does, phrase("the action of the rule for {}", target.host))
    forwarded = set(rule.groups) if rule else set()
    wanted = set(ecs_service.serving_groups)
    assert forwarded and forwarded <= wanted, saw(
        listed(sorted(map(_short, forwarded)))
        if forwarded
        else phrase("a {}", rule.does)
        if rule
        else phrase("no rule"),
        expected=phrase("{} to go to {}", target.host, listed(sorted(map(_short, wanted)))),
    )


def test_alb_targets_healthy(target_health: TargetGroupHealth, ecs_service: EcsService) -> None:
    """As many targets pass their health check as tasks are wanted, and none fails it."""
    live = [t for t in target_health.targets if not t.leaving]
    strange = sorted({t.state for t in live} - TARGET_STATES)
    if strange:
        raise unknown(
            "error", phrase("a target of {} is {}, a state not known here", ecs_service.name, listed(strange))
        )
    sick = [phrase("{} {} ({}: {})", t.id, t.state, t.reason, t.description) for t in live if t.state != "healthy"]
    assert not sick, saw(listed(sick), expected=phrase("every target healthy"))
    assert len(live) >= max(1, ecs_service.desired), saw(
        phrase("{} healthy", len(live)),
        expected=phrase("at least {} healthy targets of {}", max(1, ecs_service.desired), ecs_service.name),
    )


def test_alb_health_check_config(
    health_checks: Mapping[str, HealthCheck], ecs_service: EcsService, target: Service
) -> None:
    """The load balancer asks the service's own health path on the port of its requests, by their protocol, wants
    success, and decides before ECS gives up on the task and before users do. A network load balancer may only open a
    connection.
    """
    checks = [health_checks[arn] for arn in ecs_service.serving_groups if arn in health_checks]
    assert checks, saw(phrase("no target group"), expected=phrase("{} behind one", ecs_service.name))
    own = ("traffic-port", str(target.ecs.port) if target.ecs else "")
    for check in checks:
        assert check.port in own, saw(
            phrase("port {}", check.port), expected=phrase("{} to ask the port that users reach", check.group)
        )
        assert check.requests_by not in _OF_HTTP or check.protocol == check.requests_by, saw(
            phrase("{} checks and {} requests", check.protocol, check.requests_by),
            expected=phrase("{} to check its targets by the protocol of its requests", check.group),
        )
        connects = check.path is None and target.load_balancer is not None and not target.load_balancer.application
        path = target.path_of(target.health_path)
        assert connects or (check.path == path and check.wants_success), saw(
            phrase("{} answering {}", check.path, check.codes),
            expected=phrase("{} to ask {} for a 200", check.group, path),
        )
        assert check.unhealthy_after_s <= LONGEST_SICK_S, saw(
            phrase("{} s until a task that fails gets no requests", check.unhealthy_after_s),
            expected=phrase("{} to find a task unhealthy within {} s", check.group, LONGEST_SICK_S),
        )
        assert check.healthy_after_s <= ecs_service.grace_s, saw(
            phrase("a grace period of {} s", ecs_service.grace_s),
            expected=phrase(
                "{} to be given the {} s that {} takes", ecs_service.name, check.healthy_after_s, check.group
            ),
        )


def test_alb_idle_timeout(
    balancer_attributes: BalancerAttributes, environment: Environment, target: LoadBalancer
) -> None:
    """A WebSocket connection outlives two silent heartbeats; in production the load balancer can't be deleted.

    A network load balancer keeps an idle connection for at least 60 s.
    """
    behind = [s for s in environment.services.values() if s.load_balancer == target]
    silence = 2 * max((s.heartbeat_s for s in behind if s.websocket), default=0)
    kept_s = balancer_attributes.idle_timeout_s or LEAST_OF_A_NETWORK_BALANCER_S
    assert kept_s >= silence, saw(
        phrase("{} s", kept_s),
        expected=phrase("{} to keep an idle connection for {} s at least", balancer_attributes.name, silence),
    )
    assert not environment.production or balancer_attributes.deletion_protection, saw(
        phrase("none"), expected=phrase("deletion protection of {}", balancer_attributes.name)
    )


def _runs_the_service(definition: TaskDefinition, target: Service) -> None:
    """Asserts that a container takes the service's port, and that a task without the application is no task."""
    assert target.ecs is not None
    ports = sorted({port for container in definition.containers for port in container.ports})
    assert target.load_balancer is None or target.ecs.port in ports, saw(
        phrase("the ports {}", listed(ports)),
        expected=phrase("a container of {} on {}", definition.name, target.ecs.port),
    )
    assert definition.container(target.ecs.container).essential, saw(
        phrase("essential: false"),
        expected=phrase("a task of {} to end when {} ends", definition.name, target.ecs.container),
    )


def _logs_are_kept(definition: TaskDefinition, target: Service, environment: Environment) -> None:
    """Asserts that the service's own container logs to its log group or through FireLens. Sidecars may log anywhere."""
    assert target.ecs is not None
    own = definition.container(target.ecs.container)
    groups = (target.log_group,) if target.log_group else environment.logs.groups if environment.logs else ()
    routed = own.log_driver == "awsfirelens" and any(c.routes_logs for c in definition.containers)
    assert routed or (own.log_driver == "awslogs" and own.log_group in groups), saw(
        phrase("{} logging to {} {}", own.name, own.log_driver, own.log_group),
        expected=phrase("{} to write to {} with awslogs", definition.name, either(groups)),
    )
    region = environment.aws.region if environment.aws else None
    assert routed or own.log_region in (None, region), saw(
        own.log_region, expected=phrase("{} to write to {} in {}", definition.name, own.log_group, region)
    )


def _short(arn: str) -> str:
    return arn.split(":")[-1]
