"""Compute of one environment: load balancer, images, task definitions, services, roles, scaling."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gli.config.environments import Environment
from gli.config.services import Service
from sandbox.aws.account import Account
from sandbox.aws.seed_data import Data
from sandbox.aws.seed_network import Network
from sandbox.copies import copy_number, original
from sandbox.site import Site, required

DESIRED = 2
ADMIN_IMAGE = "gli-admin"
"""A repository of the deployment overview that no service of environments.toml is deployed from."""
_DEPLOYMENT = {
    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    "minimumHealthyPercent": 100,
    "maximumPercent": 200,
}
_TASKS_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


@dataclass(frozen=True)
class Balancer:
    """The load balancer, and the target group of each service by the service's name."""

    arn: str
    dns_name: str
    zone: str
    target_groups: Mapping[str, str]


def seed_shared(account: Account, site: Site) -> None:
    """Make the clusters and the registry, which both environments share."""
    ecs, ecr = account("ecs"), account("ecr")
    for cluster in dict.fromkeys(required(s.ecs).cluster for s in site.environment.services.values()):
        ecs.create_cluster(clusterName=cluster, settings=[{"name": "containerInsights", "value": "enabled"}])
    images = {required(s.image): s.repository for s in site.environment.services.values()}
    images[ADMIN_IMAGE] = site.environment.frontends["admin"].repository
    for image, repository in images.items():
        ecr.create_repository(
            repositoryName=image,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )
        for revision in site.images(repository):
            push(account, image, revision, repository)


def push(account: Account, image: str, tag: str, repository: str) -> None:
    """Push a made-up manifest with a digest of its own, which tells its origin; the registry needs no real image."""
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 1, "digest": f"sha256:{tag:0<64}"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layer | {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [layer],
        "annotations": {
            "org.opencontainers.image.revision": tag,
            "org.opencontainers.image.source": f"https://github.com/gli/{repository}",
        },
    }
    account("ecr").put_image(repositoryName=image, imageManifest=json.dumps(manifest), imageTag=tag)


def seed_balancer(account: Account, environment: Environment, network: Network, certificate: str) -> Balancer:
    """Make an ALB that sends each service's host to its target group, and answers 404 to any other host."""
    elbv2 = account("elbv2")
    name = required(environment.load_balancer).name
    balancer = elbv2.create_load_balancer(
        Name=name, Subnets=list(network.public), SecurityGroups=[network.groups[name]], Scheme="internet-facing"
    )["LoadBalancers"][0]
    arn = balancer["LoadBalancerArn"]
    attributes = {"idle_timeout.timeout_seconds": "300", "deletion_protection.enabled": "true"}
    elbv2.modify_load_balancer_attributes(
        LoadBalancerArn=arn, Attributes=[{"Key": k, "Value": v} for k, v in attributes.items()]
    )
    redirect = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    elbv2.create_listener(
        LoadBalancerArn=arn,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "redirect", "RedirectConfig": redirect}],
    )
    listener = elbv2.create_listener(
        LoadBalancerArn=arn,
        Protocol="HTTPS",
        Port=443,
        SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
        Certificates=[{"CertificateArn": certificate}],
        DefaultActions=[
            {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "ContentType": "text/plain"}}
        ],
    )["Listeners"][0]["ListenerArn"]
    groups = {}
    for n, service in enumerate(environment.services.values(), start=1):
        groups[service.name] = _target_group(elbv2, environment, network, service, n)
        elbv2.create_rule(
            ListenerArn=listener,
            Priority=10 * n,
            Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": [service.host]}}],
            Actions=[{"Type": "forward", "TargetGroupArn": groups[service.name]}],
        )
    return Balancer(arn, balancer["DNSName"], balancer["CanonicalHostedZoneId"], groups)


def _target_group(elbv2: Any, environment: Environment, network: Network, service: Service, number: int) -> str:
    port = required(service.ecs).port
    short = service.name.replace("websocket", "ws")
    arn = elbv2.create_target_group(
        Name=f"{required(environment.alarms).prefix}{short}-tg",
        Protocol="HTTP",
        Port=port,
        VpcId=network.vpc,
        TargetType="ip",
        HealthCheckPath=service.health_path,
        HealthCheckIntervalSeconds=15,
        HealthyThresholdCount=2,
        Matcher={"HttpCode": "200"},
    )["TargetGroups"][0]["TargetGroupArn"]
    targets = [{"Id": address, "Port": port} for address in network.addresses(20 + number)]
    elbv2.register_targets(TargetGroupArn=arn, Targets=targets)
    return str(arn)


def seed_services(
    account: Account, site: Site, environment: Environment, network: Network, balancer: Balancer, data: Data
) -> None:
    """Make a task definition and an ECS service for each service, with its roles and its scaling."""
    prefix = required(environment.alarms).prefix
    account_id = balancer.arn.split(":")[4]
    roles = _roles(account, account_id, prefix, data.secrets.values())
    _deploy_role(account, account_id, environment)
    registry = f"{account_id}.dkr.ecr.{account.region}.amazonaws.com"
    for service in environment.services.values():
        where = required(service.ecs)
        definition = ""
        revisions = [site.revision(environment, service.repository)]
        if environment is site.environment:  # a rollback needs the revision that ran before
            revisions = list(dict.fromkeys([site.before(service.repository), *revisions]))
        for revision in revisions:
            image = f"{registry}/{service.image}:{revision}"
            container = _container(environment, service, image, account.region, data.secrets)
            definition = task_definition(account, where.service, container, *roles)
        groups = [network.groups[f"{prefix}{service.name}-tasks"]]
        vpc = {"subnets": list(network.private), "securityGroups": groups, "assignPublicIp": "DISABLED"}
        target = {"targetGroupArn": balancer.target_groups[service.name]}
        account("ecs").create_service(
            cluster=where.cluster,
            serviceName=where.service,
            taskDefinition=definition,
            desiredCount=DESIRED,
            launchType="FARGATE",
            platformVersion="LATEST",
            networkConfiguration={"awsvpcConfiguration": vpc},
            deploymentConfiguration=_DEPLOYMENT,
            healthCheckGracePeriodSeconds=60,
            loadBalancers=[{**target, "containerName": where.container, "containerPort": where.port}],
        )
        _scaling(account, account_id, where.cluster, where.service)


def task_definition(account: Account, family: str, container: dict[str, Any], execution: str, task: str) -> str:
    """Register one more revision of a task definition; returns its ARN."""
    definition = account("ecs").register_task_definition(
        family=family,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="512",
        memory="1024",
        executionRoleArn=execution,
        taskRoleArn=task,
        containerDefinitions=[container],
    )
    return str(definition["taskDefinition"]["taskDefinitionArn"])


def _container(
    environment: Environment, service: Service, image: str, region: str, secrets: Mapping[str, str]
) -> dict[str, Any]:
    where = required(service.ecs)
    own = {n: arn for n, arn in secrets.items() if copy_number(n) in ("", copy_number(service.name))}
    valued = {original(n).rpartition("/")[2].upper(): arn for n, arn in own.items() if "verify" not in n}
    return {
        "name": where.container,
        "image": image,
        "essential": True,
        "portMappings": [{"containerPort": where.port, "protocol": "tcp"}],
        "healthCheck": {
            "command": ["CMD-SHELL", f"curl --fail http://localhost:{where.port}{service.health_path} || exit 1"]
        },
        "environment": [{"name": "ENVIRONMENT", "value": environment.name}],
        "secrets": [{"name": name, "valueFrom": arn} for name, arn in sorted(valued.items())],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": required(service.log_group),
                "awslogs-region": region,
                "awslogs-stream-prefix": where.container,
            },
        },
    }


def _roles(account: Account, account_id: str, prefix: str, secrets: Iterable[str]) -> tuple[str, str]:
    """The execution role, which pulls, logs and reads the secrets; and the task role, which has almost no rights."""
    iam = account("iam")
    pull = ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    execution = [
        {"Effect": "Allow", "Action": [*pull, "logs:CreateLogStream", "logs:PutLogEvents"], "Resource": "*"},
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": sorted(secrets)},
    ]
    task = [{"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*"}]
    for kind, statements in (("execution", execution), ("task", task)):
        iam.create_role(RoleName=f"{prefix}{kind}", AssumeRolePolicyDocument=_TASKS_TRUST)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=f"{prefix}{kind}", PolicyName=kind, PolicyDocument=document)
    return f"arn:aws:iam::{account_id}:role/{prefix}execution", f"arn:aws:iam::{account_id}:role/{prefix}task"


def deploy_role(environment: Environment) -> str:
    """The name of the role that the deploy workflows assume."""
    return f"{required(environment.alarms).prefix}deploy"


def _deploy_role(account: Account, account_id: str, environment: Environment) -> None:
    """Make the role; only jobs of GLI's repositories in the matching GitHub environment may assume it."""
    github = required(environment.github)
    issuer = "token.actions.githubusercontent.com"
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account_id}:oidc-provider/{issuer}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {f"{issuer}:aud": "sts.amazonaws.com"},
            "StringLike": {f"{issuer}:sub": f"repo:{github.owner}/gli_*:environment:{github.environment}"},
        },
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam, name = account("iam"), deploy_role(environment)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    allowed = [
        {"Effect": "Allow", "Action": list(actions), "Resource": sorted(resources)}
        for actions, resources in _what_it_deploys(environment, account_id)
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    iam.put_role_policy(RoleName=name, PolicyName="deploy", PolicyDocument=document)


def _what_it_deploys(environment: Environment, account_id: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """(actions, resources) of the deploy role: images, services and pages."""
    here = f"{required(environment.aws).region}:{account_id}"
    services, buckets = environment.services.values(), [f.bucket for f in environment.frontends.values() if f.bucket]
    images = [f"arn:aws:ecr:{here}:repository/{s.image}" for s in services if s.image]
    own = [f"arn:aws:ecs:{here}:service/{s.ecs.cluster}/{s.ecs.service}" for s in services if s.ecs]
    yield ("ecr:PutImage", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload"), images
    yield ("ecs:UpdateService", "ecs:DescribeServices"), own
    yield ("s3:PutObject", "s3:DeleteObject"), [f"arn:aws:s3:::{bucket}/*" for bucket in buckets]


def _scaling(account: Account, account_id: str, cluster: str, service: str) -> None:
    scaling = account("application-autoscaling")
    own = "ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService"
    role = f"arn:aws:iam::{account_id}:role/aws-service-role/{own}"
    target = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{cluster}/{service}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    states = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    scaling.register_scalable_target(
        **target,
        MinCapacity=DESIRED,
        MaxCapacity=4 * DESIRED,
        RoleARN=role,
        SuspendedState=dict.fromkeys(states, False),
    )
    scaling.put_scaling_policy(
        **target,
        PolicyName=f"{service}-cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 60.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
        },
    )
