"""ECS, ECR and the load balancer: what should run, what runs, and where it is reached."""

from collections.abc import Mapping, Sequence

from gli.environments import Service
from gli.observe.aws.balancer import Balancer, TargetGroupHealth
from gli.observe.aws.compute import Cluster, EcsService, RegistryImage, RunningImage
from gli.saying import listed, saw


def test_ecs_cluster_active(clusters: Sequence[Cluster], target: Service) -> None:
    """The service's cluster exists and is active."""
    assert target.ecs is not None
    status = {c.name: c.status for c in clusters}[target.ecs.cluster]
    assert status == "ACTIVE", saw(status, expected=f"the cluster {target.ecs.cluster} ACTIVE")


def test_ecs_service_active(ecs_service: EcsService) -> None:
    """The service exists, is active and wants tasks."""
    assert ecs_service.status == "ACTIVE", saw(ecs_service.status, expected=f"{ecs_service.name} ACTIVE")
    assert ecs_service.desired >= 1, saw("scaled to 0", expected=f"{ecs_service.name} to want at least one task")


def test_ecs_running_count(ecs_service: EcsService) -> None:
    """All wanted tasks run, and none is still starting."""
    seen = f"{ecs_service.running} running and {ecs_service.pending} pending of {ecs_service.desired}"
    expected = f"{ecs_service.desired} running tasks of {ecs_service.name}"
    assert ecs_service.running == ecs_service.desired and ecs_service.pending == 0, saw(seen, expected=expected)


def test_ecs_rollout_completed(ecs_service: EcsService) -> None:
    """The PRIMARY deployment finished; a count that fits can hold while it is still in progress."""
    primary = ecs_service.primary
    assert primary.rollout == "COMPLETED", saw(
        f"{primary.rollout}: {primary.reason or 'no reason given'}",
        expected=f"the rollout of {ecs_service.name} COMPLETED",
    )


def test_ecs_single_deployment(ecs_service: EcsService) -> None:
    """No old deployment still carries traffic."""
    seen = [f"{d.status} {d.task_definition.rpartition('/')[2]} ({d.running} running)" for d in ecs_service.deployments]
    assert len(ecs_service.deployments) == 1, saw(listed(seen), expected=f"one deployment of {ecs_service.name}")


def test_ecs_expected_image(running_image: RunningImage) -> None:
    """The PRIMARY deployment runs the build of the branch's head; a rolled-back service is stable, on the OLD one."""
    assert running_image.tag == running_image.expected_tag, saw(
        running_image.image, expected=f"an image tagged {running_image.expected_tag}"
    )


def test_ecr_image_exists(registry_image: RegistryImage) -> None:
    """The image of the branch's head is in the registry."""
    assert registry_image.digest is not None, saw(
        registry_image.failure, expected=f"{registry_image.repository}:{registry_image.tag} in ECR"
    )


def test_alb_active(balancer: Balancer) -> None:
    """The load balancer is active in at least two zones."""
    assert balancer.state == "active", saw(balancer.state, expected=f"{balancer.name} active")
    assert len(balancer.zones) >= 2, saw(listed(balancer.zones), expected=f"{balancer.name} in at least two zones")


def test_alb_https_listener(balancer: Balancer) -> None:
    """One HTTPS listener on 443, with a certificate."""
    secure = [x for x in balancer.listeners if x.port == 443]
    assert len(secure) == 1 and secure[0].protocol == "HTTPS", saw(
        listed(f"{x.protocol}:{x.port}" for x in balancer.listeners), expected=f"HTTPS:443 on {balancer.name}"
    )
    assert secure[0].certificates, saw("none", expected=f"a certificate on HTTPS:443 of {balancer.name}")


def test_alb_http_redirect(balancer: Balancer) -> None:
    """The listener on 80 does nothing but redirect to HTTPS for good."""
    plain = [x for x in balancer.listeners if x.port == 80]
    assert plain and plain[0].redirects_to == "HTTPS HTTP_301", saw(
        (plain[0].redirects_to or "no redirect") if plain else "no listener on 80",
        expected="80 redirecting: HTTPS HTTP_301",
    )


def test_alb_host_routing(routes: Mapping[str, set[str]], ecs_service: EcsService, target: Service) -> None:
    """The host's rule forwards to the target group that its service registers in."""
    forwarded = routes.get(target.host, set())
    wanted = set(ecs_service.target_groups)
    assert wanted and forwarded == wanted, saw(
        listed(sorted(map(_short, forwarded))), expected=f"{target.host} to go to {listed(sorted(map(_short, wanted)))}"
    )


def test_alb_targets_healthy(target_health: TargetGroupHealth, ecs_service: EcsService) -> None:
    """As many targets pass their health check as tasks are wanted, and none fails it."""
    live = [t for t in target_health.targets if t.state != "draining"]
    sick = [f"{t.id} {t.state} ({t.reason}: {t.description})" for t in live if t.state != "healthy"]
    assert not sick, saw(listed(sick), expected="every target healthy")
    assert len(live) >= max(1, ecs_service.desired), saw(
        f"{len(live)} healthy", expected=f"at least {max(1, ecs_service.desired)} healthy targets of {ecs_service.name}"
    )


def _short(arn: str) -> str:
    return arn.split(":")[-1]
