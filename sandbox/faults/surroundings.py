"""Faults of what surrounds a service's tasks: their roles, their scaling, their place in the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gli.config.environments import Ecs
from sandbox.aws.seed_compute import deploy_role
from sandbox.faults import Sandbox, fault
from sandbox.site import required

_STRANGER = "203.0.113.7/32"


def _where(sandbox: Sandbox) -> Ecs:
    return required(sandbox.environment.services["api"].ecs)


def _described(sandbox: Sandbox) -> dict[str, Any]:
    where = _where(sandbox)
    answer = sandbox.aws("ecs").describe_services(cluster=where.cluster, services=[where.service])
    service: dict[str, Any] = answer["services"][0]
    return service


def _role(sandbox: Sandbox, kind: str) -> str:
    """The name of a role of the API's tasks: `executionRoleArn` or `taskRoleArn`."""
    arn = _described(sandbox)["taskDefinition"]
    definition = sandbox.aws("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return str(definition[kind]).rpartition("/")[2]


@contextmanager
def _role_policy(sandbox: Sandbox, role: str, change: Callable[[list[dict[str, Any]]], object]) -> Iterator[None]:
    """The first inline policy of a role of the API's tasks with other statements."""
    iam, name = sandbox.aws("iam"), _role(sandbox, role)
    policy = iam.list_role_policies(RoleName=name)["PolicyNames"][0]
    before = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    after = json.loads(json.dumps(before))
    change(after["Statement"])
    iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(after))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(before))


@fault("execution-role-without-secrets", turns_red=["iam-execution-role"])
def execution_role_without_secrets(sandbox: Sandbox) -> Iterator[None]:
    """The execution role may no longer read the secrets."""
    with _role_policy(sandbox, "executionRoleArn", lambda statements: statements.pop()):
        yield


@contextmanager
def _suite_may(sandbox: Sandbox, *actions: str, on: str = "*") -> Iterator[None]:
    """The role of the suite with more than it needs."""
    iam, role = sandbox.aws("iam"), f"gli-verify-{sandbox.environment.name}"
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": on}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_role_policy(RoleName=role, PolicyName="just-for-once", PolicyDocument=document)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="just-for-once")


@fault("suite-may-deploy", turns_red=["suite-role-readonly"])
def suite_may_deploy(sandbox: Sandbox) -> Iterator[None]:
    """Somebody gave the suite's role the right to update any ECS service, to try something."""
    with _suite_may(sandbox, "ecs:Describe*", "ecs:Update*"):
        yield


@fault("suite-may-take-roles", turns_red=["suite-role-readonly"])
def suite_may_take_roles(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may take the role of a deploy."""
    with _suite_may(sandbox, "sts:AssumeRole", on=f"arn:aws:iam::*:role/{deploy_role(sandbox.environment)}"):
        yield


@fault("suite-may-read-any-secret", turns_red=["suite-role-readonly"])
def suite_may_read_any_secret(sandbox: Sandbox) -> Iterator[None]:
    """The suite's role may read every secret of the account."""
    with _suite_may(sandbox, "secretsmanager:Get*"):
        yield


@fault("deploy-role-open", turns_red=["iam-github-oidc"])
def deploy_role_open(sandbox: Sandbox) -> Iterator[None]:
    """Any branch of a repository may deploy, that of a pull request too."""
    iam, name = sandbox.aws("iam"), deploy_role(sandbox.environment)
    before = json.dumps(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"])
    place = f":environment:{required(sandbox.environment.github).environment}"
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=before.replace(place, ":*"))
    yield
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=before)


@fault("execution-role-denied", turns_red=["iam-execution-role"])
def execution_role_denied(sandbox: Sandbox) -> Iterator[None]:
    """The execution role is allowed to pull images, and denied it by another statement."""
    denial = {"Effect": "Deny", "Action": "ecr:*", "NotResource": "arn:aws:ecr:*:*:repository/somebody-elses"}
    with _role_policy(sandbox, "executionRoleArn", lambda statements: statements.append(denial)):
        yield


@fault("execution-role-untrusting", turns_red=["iam-execution-role"])
def execution_role_untrusting(sandbox: Sandbox) -> Iterator[None]:
    """The execution role lets EC2 take it, and ECS no longer."""
    iam, name = sandbox.aws("iam"), _role(sandbox, "executionRoleArn")
    before = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    after = json.loads(json.dumps(before).replace("ecs-tasks.", "ec2."))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(after))
    yield
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


@fault("task-role-may-anything", turns_red=["iam-task-role-least"])
def task_role_may_anything(sandbox: Sandbox) -> Iterator[None]:
    """The API's own role may do anything with any bucket."""
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}
    with _role_policy(sandbox, "taskRoleArn", lambda statements: statements.append(everything)):
        yield


@fault("task-role-may-anything-by-arn", turns_red=["iam-task-role-least"])
def task_role_may_anything_by_arn(sandbox: Sandbox) -> Iterator[None]:
    """The API's own role may do anything with anything, in as many words."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:*:*:*:*"}
    with _role_policy(sandbox, "taskRoleArn", lambda statements: statements.append(everything)):
        yield


@fault("task-role-of-administrators", turns_red=["iam-task-role-least"])
def task_role_of_administrators(sandbox: Sandbox) -> Iterator[None]:
    """A managed policy that allows everything is attached to the API's own role."""
    iam, name = sandbox.aws("iam"), _role(sandbox, "taskRoleArn")
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    arn = iam.create_policy(PolicyName="gli-everything", PolicyDocument=json.dumps(everything))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    yield
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)


def _scalable(sandbox: Sandbox) -> dict[str, str]:
    where = _where(sandbox)
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{where.cluster}/{where.service}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }


@fault("scaling-suspended", turns_red=["scaling-registered"])
def scaling_suspended(sandbox: Sandbox) -> Iterator[None]:
    """Somebody suspended the API's scaling during an incident, and forgot it."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    states = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    scaling.register_scalable_target(**target, SuspendedState=dict.fromkeys(states, True))
    yield
    scaling.register_scalable_target(**target, SuspendedState=dict.fromkeys(states, False))


@fault("scaling-without-room", turns_red=["scaling-registered"])
def scaling_without_room(sandbox: Sandbox) -> Iterator[None]:
    """The API may not grow beyond the tasks that it has."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = known["ScalableTargets"][0]
    scaling.register_scalable_target(**target, MaxCapacity=before["MinCapacity"])
    yield
    scaling.register_scalable_target(**target, MaxCapacity=before["MaxCapacity"])


@fault("scaling-down-to-one", turns_red=["scaling-registered"], production=True)
def scaling_down_to_one(sandbox: Sandbox) -> Iterator[None]:
    """The API may shrink to a single task."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = known["ScalableTargets"][0]
    scaling.register_scalable_target(**target, MinCapacity=1)
    yield
    scaling.register_scalable_target(**target, MinCapacity=before["MinCapacity"])


@fault("scaling-at-its-limit", turns_red=["scaling-not-maxed"])
def scaling_at_its_limit(sandbox: Sandbox) -> Iterator[None]:
    """The API has as many tasks as it may have."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    known = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[target["ResourceId"]])
    before = {key: known["ScalableTargets"][0][key] for key in ("MinCapacity", "MaxCapacity")}
    wanted = _described(sandbox)["desiredCount"]
    scaling.register_scalable_target(**target, MinCapacity=wanted // 2, MaxCapacity=wanted)
    yield
    scaling.register_scalable_target(**target, **before)


@fault("scaling-policy-gone", turns_red=["scaling-policies"])
def scaling_policy_gone(sandbox: Sandbox) -> Iterator[None]:
    """Nothing makes the API scale."""
    scaling, target = sandbox.aws("application-autoscaling"), _scalable(sandbox)
    policy = _policy(sandbox)
    scaling.delete_scaling_policy(**target, PolicyName=policy["PolicyName"])
    yield
    kept = ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration")
    scaling.put_scaling_policy(**target, **{key: policy[key] for key in kept})


@fault("scaling-alarm-gone", turns_red=["scaling-policies"])
def scaling_alarm_gone(sandbox: Sandbox) -> Iterator[None]:
    """Somebody deleted the alarm that makes the API grow."""
    cloudwatch, name = sandbox.aws("cloudwatch"), _policy(sandbox)["Alarms"][0]["AlarmName"]
    alarm = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    cloudwatch.delete_alarms(AlarmNames=[name])
    yield
    kept = ("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "EvaluationPeriods",
            "Threshold", "ComparisonOperator", "AlarmActions", "AlarmDescription")  # fmt: skip
    cloudwatch.put_metric_alarm(**{key: alarm[key] for key in kept if key in alarm})


def _policy(sandbox: Sandbox) -> dict[str, Any]:
    resource = _scalable(sandbox)["ResourceId"]
    known = sandbox.aws("application-autoscaling").describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    return next(p for p in known if p["ResourceId"] == resource)


def _tasks_group(sandbox: Sandbox) -> str:
    groups = _described(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"]
    return str(groups[0])


@fault("tasks-open-to-a-stranger", turns_red=["sg-tasks-ingress-alb-only"])
def tasks_open_to_a_stranger(sandbox: Sandbox) -> Iterator[None]:
    """Somebody who debugged the API from home can still reach its tasks, past the load balancer."""
    port, ec2 = _where(sandbox).port, sandbox.aws("ec2")
    permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": _STRANGER}]}
    change = {"GroupId": _tasks_group(sandbox), "IpPermissions": [permission]}
    ec2.authorize_security_group_ingress(**change)
    yield
    ec2.revoke_security_group_ingress(**change)


@fault("tasks-closed-to-the-balancer", turns_red=["sg-tasks-ingress-alb-only"])
def tasks_closed_to_the_balancer(sandbox: Sandbox) -> Iterator[None]:
    """The API's tasks no longer take connections from the load balancer."""
    group, ec2 = _tasks_group(sandbox), sandbox.aws("ec2")
    before = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=before)
    yield
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=before)


@fault("database-subnet-public", turns_red=["net-private-subnets"])
def database_subnet_public(sandbox: Sandbox) -> Iterator[None]:
    """A route leads from the internet into the database's subnets."""
    ec2, instance = sandbox.aws("ec2"), required(sandbox.environment.database).instance
    group = sandbox.aws("rds").describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"][0]["DBSubnetGroup"]
    subnet = group["Subnets"][0]["SubnetIdentifier"]
    tables = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["RouteTables"]
    gateways = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [group["VpcId"]]}])
    gateway = gateways["InternetGateways"][0]["InternetGatewayId"]
    route = {"RouteTableId": tables[0]["RouteTableId"], "DestinationCidrBlock": "198.51.100.0/24"}
    ec2.create_route(**route, GatewayId=gateway)
    yield
    ec2.delete_route(**route)


@fault("tasks-without-a-way-out", turns_red=["net-task-egress"])
def tasks_without_a_way_out(sandbox: Sandbox) -> Iterator[None]:
    """The default route of the tasks' subnets is gone: those that run go on, and no new one can start."""
    ec2, subnets = sandbox.aws("ec2"), _described(sandbox)["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    tables = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": subnets}])["RouteTables"]
    default = next(r for r in tables[0]["Routes"] if r["DestinationCidrBlock"] == "0.0.0.0/0")
    route = {"RouteTableId": tables[0]["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.delete_route(**route)
    yield
    ec2.create_route(**route, NatGatewayId=default["NatGatewayId"])
