"""Set-ups of tasks: sidecars, log routers, other sources of secrets, variables with names like secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import allowed, both, listener, overlaid, redefined, region, service, target_group, where


def _awslogs(group: str, where: str) -> dict[str, Any]:
    return {
        "logDriver": "awslogs",
        "options": {"awslogs-group": group, "awslogs-region": where, "awslogs-stream-prefix": "sidecar"},
    }


@variant("sidecars", tries=["ecs-taskdef-contract"])
def sidecars(sandbox: Sandbox) -> Iterator[None]:
    """X-Ray's daemon and an agent run as sidecars of the API; one has its own log group, one has no log."""
    logs = _awslogs("/gli/sidecars", region(sandbox))

    def add(definition: dict[str, Any]) -> None:
        definition["containerDefinitions"] += [
            {
                "name": "xray",
                "image": "public.ecr.aws/xray/aws-xray-daemon:3.3.13",
                "essential": False,
                "portMappings": [{"containerPort": 2000, "protocol": "udp"}],
                "logConfiguration": logs,
            },
            {"name": "datadog-agent", "image": "public.ecr.aws/datadog/agent:7", "essential": False},
        ]

    with redefined(sandbox, add):
        yield


@variant("containers-that-wait")
def containers_that_wait(sandbox: Sandbox) -> Iterator[None]:
    """The API's container waits for a sidecar that is checked, and for the end of a first container; an alarm that is
    quiet rolls deployments back."""
    image = "public.ecr.aws/docker/library/busybox:1.37"

    def wait(definition: dict[str, Any]) -> None:
        first = {"name": "first", "image": image, "essential": False, "environment": []}
        checked = {**first, "name": "checked", "healthCheck": {"command": ["CMD-SHELL", "true"]}}
        waits = [("first", "SUCCESS"), ("checked", "HEALTHY")]
        definition["containerDefinitions"][0]["dependsOn"] = [
            {"containerName": name, "condition": condition} for name, condition in waits
        ]
        definition["containerDefinitions"] += [first, checked]

    ecs, place, before = sandbox.aws("ecs"), where(sandbox), service(sandbox)["deploymentConfiguration"]
    prefix = required(sandbox.environment.alarms).prefix
    name = sandbox.aws("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"][0]["AlarmName"]
    watched = {"alarmNames": [name], "enable": True, "rollback": True}
    with redefined(sandbox, wait):
        changed = {**before, "alarms": watched}
        ecs.update_service(cluster=place.cluster, service=place.service, deploymentConfiguration=changed)
        yield
        ecs.update_service(cluster=place.cluster, service=place.service, deploymentConfiguration=before)


@variant("shell-in-the-tasks", tries=["ecs-exec-ready"])
def shell_in_the_tasks(sandbox: Sandbox) -> Iterator[None]:
    """ECS Exec is on for the API: its task role may open the channels, and its tasks started afterwards."""
    iam = sandbox.aws("iam")
    definition = sandbox.aws("ecs").describe_task_definition(taskDefinition=service(sandbox)["taskDefinition"])
    role = definition["taskDefinition"]["taskRoleArn"].rpartition("/")[2]
    channels = [f"ssmmessages:{verb}{kind}Channel" for verb in ("Create", "Open") for kind in ("Control", "Data")]
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": channels, "Resource": "*"}]}
    iam.put_role_policy(RoleName=role, PolicyName="exec", PolicyDocument=json.dumps(document))
    place = {"region": region(sandbox), "cluster": where(sandbox).cluster, "service": where(sandbox).service}
    with (
        overlaid(sandbox, "ecs-service", **place, changes={"enable_execute_command": True}),
        redefined(sandbox, lambda definition: None),
    ):
        yield
    iam.delete_role_policy(RoleName=role, PolicyName="exec")


@variant("sidecar-from-the-registry", tries=["ecs-next-task-can-start", "ecs-sidecar-images"])
def sidecar_from_the_registry(sandbox: Sandbox) -> Iterator[None]:
    """A sidecar's image lies in a registry of the account, named by tag; another team's registry holds a second one."""
    ecr = sandbox.aws("ecr")
    ecr.create_repository(repositoryName="tools/router")
    image = sandbox.environment.services["api"].image
    tagged = ecr.describe_images(repositoryName=image)["imageDetails"][0]["imageDigest"]
    like = ecr.batch_get_image(repositoryName=image, imageIds=[{"imageDigest": tagged}])["images"][0]
    ecr.put_image(repositoryName="tools/router", imageManifest=like["imageManifest"], imageTag="stable")

    def add(definition: dict[str, Any]) -> None:
        own = definition["containerDefinitions"][0]["image"].partition("/")[0]
        theirs = f"210987654321.dkr.ecr.{region(sandbox)}.amazonaws.com"
        definition["containerDefinitions"] += [
            {"name": "router", "image": f"{own}/tools/router:stable", "essential": True},
            {"name": "agent", "image": f"{theirs}/agent:7", "essential": False},
        ]

    with redefined(sandbox, add):
        yield
    ecr.delete_repository(repositoryName="tools/router", force=True)


@variant("firelens")
def firelens(sandbox: Sandbox) -> Iterator[None]:
    """The API logs through FireLens: a log router in the task sends the lines to the API's log group."""

    def route(definition: dict[str, Any]) -> None:
        container = definition["containerDefinitions"][0]
        group = container["logConfiguration"]["options"]["awslogs-group"]
        container["logConfiguration"] = {
            "logDriver": "awsfirelens",
            "options": {"Name": "cloudwatch_logs", "region": region(sandbox), "log_group_name": group},
        }
        definition["containerDefinitions"].append(
            {
                "name": "log_router",
                "image": "public.ecr.aws/aws-observability/aws-for-fluent-bit:stable",
                "essential": True,
                "firelensConfiguration": {"type": "fluentbit"},
                "logConfiguration": _awslogs("/gli/sidecars", region(sandbox)),
            }
        )

    with redefined(sandbox, route):
        yield


@variant("variables-that-hide-nothing")
def variables_that_hide_nothing(sandbox: Sandbox) -> Iterator[None]:
    """Plain variables of the API end in KEY and TOKEN but are not secret: a key prefix, a header name, public keys. One
    leads to a pool of connections beside the API.
    """
    harmless = {
        "CACHE_KEY": "gli_api_v20260101",
        "CSRF_TOKEN": "X-CSRF-Token-Header-Name",
        "PARTITION_KEY": "tenantIdAndCreatedAt",
        "STRIPE_PUBLISHABLE_KEY": "pk_live_4f9a1c2b7d8e4f9a1c2b7d8e",
        "VAPID_PUBLIC_KEY": "BEl62iUYgUivxIkv69yViEuiBIa-Ib9-SkvMeAtA3LFgDzkrxZJjSgSnfckjBJuBkr3qBUYIHBQFLXYp5Nksh8U",
        "USE_TOKEN": "true",
        "RECAPTCHA_SITE_KEY": "6LeIxAcTAAAAAJcZVRqyHh71UMIEGNQ_MXjiZKhI",
        "GIT_COMMIT": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "SENTRY_DSN": "https://9f86d081884c7d659a2feaa0c55ad015@o12.ingest.sentry.io/1",
        "PASSWORD_RESET_URL": f"{sandbox.environment.frontends['user'].url}/password/reset",
        "NODE_ENV": "production",
        "ALLOWED_HOSTS": "localhost,.glibiz.com",
        "POOL_URL": "postgresql://localhost:6432/gli",
    }
    pool = {"name": "pool", "image": "public.ecr.aws/docker/library/busybox:1.37", "essential": False}
    added = [{"name": name, "value": value} for name, value in harmless.items()]
    with ExitStack() as changed:
        for environment in both(sandbox):

            def add(definition: dict[str, Any]) -> None:
                definition["containerDefinitions"][0]["environment"].extend(added)
                definition["containerDefinitions"].append(pool)

            changed.enter_context(redefined(sandbox, add, environment))
        yield


@variant("secrets-in-parameters", tries=["ecs-task-health"])
def secrets_in_parameters(sandbox: Sandbox) -> Iterator[None]:
    """Two variables of the API come from Systems Manager parameters: one given by ARN, one by name."""
    ssm = sandbox.aws("ssm")
    names = ("/stg/gli/secret-key", "/stg/gli/broker-url")
    for name in names:
        ssm.put_parameter(Name=name, Value="not-the-real-one", Type="SecureString")
    account = service(sandbox)["serviceArn"].split(":")[4]
    arns = [f"arn:aws:ssm:{region(sandbox)}:{account}:parameter{name}" for name in names]

    def refer(definition: dict[str, Any]) -> None:
        secrets = definition["containerDefinitions"][0]["secrets"]
        secrets[0]["valueFrom"], secrets[1]["valueFrom"] = arns[0], names[1]

    allow = {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": arns}
    with allowed(sandbox, allow), redefined(sandbox, refer):
        yield
    ssm.delete_parameters(Names=list(names))


@variant("secrets-read-by-the-application", tries=["iam-task-role-least", "parity-config"])
def secrets_read_by_the_application(sandbox: Sandbox) -> Iterator[None]:
    """The API reads its secrets by itself, with its task role: no task definition refers to them."""
    iam = sandbox.aws("iam")
    with ExitStack() as stack:
        for environment in both(sandbox):
            place = required(environment.services["api"].ecs)
            ecs = sandbox.aws("ecs")
            found = ecs.describe_services(cluster=place.cluster, services=[place.service])["services"][0]
            described = ecs.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"]
            names = [s["valueFrom"] for s in described["containerDefinitions"][0]["secrets"]]
            role = described["taskRoleArn"].rpartition("/")[2]
            allow = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": names}
            document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
            iam.put_role_policy(RoleName=role, PolicyName="own-secrets", PolicyDocument=document)
            stack.callback(iam.delete_role_policy, RoleName=role, PolicyName="own-secrets")
            stack.enter_context(
                redefined(sandbox, lambda d: d["containerDefinitions"][0].update(secrets=[]), environment)
            )
        yield


@variant("secrets-under-a-customer-key", tries=["kms-keys-usable"])
def secrets_under_a_customer_key(sandbox: Sandbox) -> Iterator[None]:
    """The application's secret is encrypted with a customer-managed key, which the execution role may use."""
    kms, secretsmanager = sandbox.aws("kms"), sandbox.aws("secretsmanager")
    key = kms.create_key(Description="secrets of staging")["KeyMetadata"]["Arn"]
    name = sandbox.environment.services["api"].deep_health_secret
    secretsmanager.update_secret(SecretId=name, KmsKeyId=key)
    with allowed(sandbox, {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}):
        yield
    secretsmanager.update_secret(SecretId=name, KmsKeyId="alias/aws/secretsmanager")  # the key stays: nothing names it


@variant("infrequent-access-logs")
def infrequent_access_logs(sandbox: Sandbox) -> Iterator[None]:
    """The API's log group is of the class INFREQUENT_ACCESS, which CloudWatch does not search by lines."""
    name = sandbox.environment.services["api"].log_group
    with overlaid(sandbox, "log-class", region=region(sandbox), name=name, log_class="INFREQUENT_ACCESS"):
        yield


@variant("nights-off", tries=["scaling-not-stopped"])
def nights_off(sandbox: Sandbox) -> Iterator[None]:
    """Staging sleeps at night: one schedule ends the API's tasks, another one brings them back; a third one is over."""
    scaling, place = sandbox.aws("application-autoscaling"), where(sandbox)
    target = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{place.cluster}/{place.service}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    none, some = {"MinCapacity": 0, "MaxCapacity": 0}, {"MinCapacity": 2, "MaxCapacity": 6}
    schedules = {
        "evening": ("cron(0 20 * * ? *)", none),
        "morning": ("cron(0 7 * * ? *)", some),
        "once": ("at(2020-01-01T00:00:00)", none),
    }
    for name, (schedule, bounds) in schedules.items():
        action = {"ScheduledActionName": name, "Schedule": schedule, "ScalableTargetAction": bounds}
        scaling.put_scheduled_action(**target, **action)
    yield
    for name in schedules:
        scaling.delete_scheduled_action(**target, ScheduledActionName=name)


@variant("container-that-checks-itself")
def container_that_checks_itself(sandbox: Sandbox) -> Iterator[None]:
    """The API's container has a health check of its own and many files, its debug mode is off by a variable, and a
    helper beside it waits for people who open a shell there.
    """
    command = ["CMD-SHELL", "curl -fsS http://localhost:8000/health || exit 1"]

    def change(definition: dict[str, Any]) -> None:
        own = definition["containerDefinitions"][0]
        own["environment"] += [{"name": "DJANGO_DEBUG", "value": "False"}, {"name": "DEBUG", "value": "gli:*"}]
        own["ulimits"] = [{"name": "nofile", "softLimit": 65536, "hardLimit": 65536}]
        own["healthCheck"] = {"command": command, "interval": 30, "retries": 3, "startPeriod": 10}
        helper = {
            "name": "shell",
            "image": "public.ecr.aws/docker/library/busybox:1.36",
            "command": ["sleep", "infinity"],
        }
        definition["containerDefinitions"].append({**helper, "memory": 32, "essential": True})

    with ExitStack() as changed:
        for environment in both(sandbox):
            changed.enter_context(redefined(sandbox, change, environment))
        yield


@variant("graviton", tries=["ecs-image-platform"])
def graviton(sandbox: Sandbox) -> Iterator[None]:
    """The API's image was built for ARM, and its tasks run on Graviton."""
    place = {"region": region(sandbox), "cluster": where(sandbox).cluster, "service": where(sandbox).service}
    arm = {"attributes": [{"name": "ecs.cpu-architecture", "value": "arm64"}]}
    platform = {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}
    with (
        redefined(sandbox, lambda definition: definition.update(runtimePlatform=platform)),
        overlaid(sandbox, "ecs-task-fields", **place, changes=[arm] * service(sandbox)["desiredCount"]),
    ):
        yield


@variant("containers-that-aws-adds")
def containers_that_aws_adds(sandbox: Sandbox) -> Iterator[None]:
    """GuardDuty and ECS Service Connect put a container each into the API's tasks, which no task definition names."""
    ecs, place = sandbox.aws("ecs"), where(sandbox)
    arns = ecs.list_tasks(cluster=place.cluster, serviceName=place.service)["taskArns"]
    tasks = ecs.describe_tasks(cluster=place.cluster, tasks=arns)["tasks"]
    added = [
        {"name": "aws-guardduty-agent-h7Xw9Zr", "lastStatus": "RUNNING", "imageDigest": f"sha256:{'a1' * 32}"},
        {"name": "ecs-service-connect-4Tn8Vb", "lastStatus": "RUNNING", "healthStatus": "HEALTHY"},
    ]
    changes = [{"containers": [*task["containers"], *added], "healthStatus": "HEALTHY"} for task in tasks]
    about = {"region": region(sandbox), "cluster": place.cluster, "service": place.service}
    with overlaid(sandbox, "ecs-task-fields", **about, changes=changes):
        yield


@variant("on-spot", tries=["ecs-graceful-stop", "ecs-placement-events"])
def on_spot(sandbox: Sandbox) -> Iterator[None]:
    """The API runs on Fargate Spot: AWS took a task back, and it ended in time. The events of ECS tell of a target
    group whose name sounds bad."""
    about = {"region": region(sandbox), "cluster": where(sandbox).cluster, "service": where(sandbox).service}
    arn = target_group(sandbox).replace(":targetgroup/", ":targetgroup/failed-payments-")
    spot = [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]
    name, events = f"(service {where(sandbox).service})", ("registered 1 targets in", "deregistered 1 targets in")
    said = [*(f"{name} {did} (target-group {arn})" for did in events), f"{name} has reached a steady state."]
    taken = {
        "stopCode": "SpotInterruption",
        "stoppedReason": "Your Spot Task was interrupted.",
        "container": {"exitCode": 0},
    }
    with (
        overlaid(sandbox, "ecs-service", **about, changes={"capacity_provider_strategy": spot}),
        overlaid(sandbox, "ecs-task-stopped", **about, ends=[taken]),
        overlaid(sandbox, "ecs-events", **about, messages=said),
    ):
        yield


@variant(
    "three-tasks",
    tries=[
        "alb-targets-are-ours",
        "alb-targets-healthy",
        "alb-weights-serve",
        "ecs-running-count",
        "ecs-service-active",
        "scaling-minimum-held",
        "scaling-not-maxed",
        "scaling-registered",
    ],
)
def three_tasks(sandbox: Sandbox) -> Iterator[None]:
    """The API's scaling has started a third task, and may start more."""
    ecs, scaling, place = sandbox.aws("ecs"), sandbox.aws("application-autoscaling"), where(sandbox)
    before, elbv2, group = service(sandbox)["desiredCount"], sandbox.aws("elbv2"), target_group(sandbox)
    about = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
    about["ResourceId"] = f"service/{place.cluster}/{place.service}"
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[about["ResourceId"]])
    bounds = {key: known["ScalableTargets"][0][key] for key in ("MinCapacity", "MaxCapacity")}
    targets = elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    net, port = targets[0]["Target"]["Id"].rpartition(".")[0], targets[0]["Target"]["Port"]
    third = {"TargetGroupArn": group, "Targets": [{"Id": f"{net}.77", "Port": port}]}
    elbv2.register_targets(**third)
    scaling.register_scalable_target(**about, MinCapacity=before, MaxCapacity=12)
    ecs.update_service(cluster=place.cluster, service=place.service, desiredCount=before + 1)
    yield
    ecs.update_service(cluster=place.cluster, service=place.service, desiredCount=before)
    scaling.register_scalable_target(**about, **bounds)
    elbv2.deregister_targets(**third)


@variant("scaled-by-requests-too", tries=["scaling-policies"])
def scaled_by_requests_too(sandbox: Sandbox) -> Iterator[None]:
    """A second policy scales the API by its requests, and soon again."""
    scaling, place, name = sandbox.aws("application-autoscaling"), where(sandbox), listener(sandbox)["LoadBalancerArn"]
    about = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
    about |= {"ResourceId": f"service/{place.cluster}/{place.service}", "PolicyName": "by-requests"}
    label = f"{name.partition(':loadbalancer/')[2]}/{target_group(sandbox).rpartition(':')[2]}"
    metric = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}
    tracking = {"TargetValue": 800.0, "PredefinedMetricSpecification": metric, "ScaleOutCooldown": 60}
    scaling.put_scaling_policy(
        **about, PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=tracking
    )
    yield
    scaling.delete_scaling_policy(**about)
