"""`gli infra` against a CloudFormation that really creates, updates and compares (ministack), one story from empty to
deleted; and the list of what ministack can't create, which is proven in tests/test_infrastructure.py alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from botocore.exceptions import ClientError
from declared import declared
from ministack import LACKING, LACKING_ATTRIBUTES, LACKING_PROPERTIES, ROOT, Ministack, Project, ministack, project

from gli.provision.template import Resource, Template

pytestmark = pytest.mark.exhaustive
SERVICES = "stg-gli-services"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


@pytest.fixture(scope="module")
def stg(aws: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project(tmp_path_factory.mktemp("project"), aws)


def test_an_environment_from_nothing_to_deleted(stg: Project) -> None:
    """One story; `make infra-test` shows the time of each phase."""
    for phase in (
        plan_of_an_empty_account,
        apply_without_the_name,
        create,
        second_apply_without_change,
        update_two_properties,
        drift_of_a_manual_edit,
        failed_update,
        replace_what_holds_data,
        keep_the_code_that_runs,
        delete,
    ):
        began = time.monotonic()
        phase(stg)
        print(f"{phase.__name__.replace('_', ' '):32} {time.monotonic() - began:5.1f} s")


def plan_of_an_empty_account(stg: Project) -> None:
    ran = stg.gli("plan", "--env", "stg")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "stg-gli-network: new, " in ran.stdout
    assert "AWS::S3::Bucket: AdminBucket and UserBucket" in ran.stdout
    assert not _stacks(stg)


def apply_without_the_name(stg: Project) -> None:
    ran = stg.gli("apply", "--env", "stg", typed="yes\n")
    assert ran.returncode == 1
    assert "not confirmed" in ran.stderr
    assert not _stacks(stg)


def create(stg: Project) -> None:
    ran = stg.gli("apply", "--env", "stg", typed="stg\n")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "  created  Vpc (AWS::EC2::VPC)" in ran.stdout
    for line in (
        "ECR repositories: gli-admin, gli-api, gli-websocket",
        "ECS clusters: gli-api-cluster, gli-websocket-cluster",
        "ECS services: stg-gli-api, stg-gli-websocket",
        "S3 buckets: stg-gli-admin-frontend, stg-gli-user-frontend",
        "CloudWatch log groups: /gli/api-server/staging, /gli/user-frontend/staging, /gli/websocket/staging",
    ):
        assert line in ran.stdout
    # Counted in AWS's own list, not in the command's output.
    whole = declared(ROOT, "stg").resources
    lacking = {name for name, r in whole.items() if r.type in LACKING or _has_a_lacking_property(r)}
    assert _created_resources(stg) == whole.keys() - lacking
    # Checked through the services, not through CloudFormation.
    made = json.loads(_secret(stg, "stg/gli/passwords/redis"))["password"]
    assert len(made) == 64
    # Compared as text: ministack puts excluded punctuation into passwords, so the secret may be invalid JSON.
    assert f'"username": "gli-app", "password": "{made}", "host": ' in _secret(stg, "stg/gli/redis")
    policy = json.loads(stg.aws.client("s3").get_bucket_policy(Bucket="stg-gli-user-frontend")["Policy"])
    assert policy["Statement"][0]["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert set(_retention(stg).values()) == {30}
    (stack,) = stg.aws.client("cloudformation").describe_stacks(StackName=SERVICES)["Stacks"]
    tags = {t["Key"]: t["Value"] for t in stack["Tags"]}
    assert tags == {"Project": "gli", "Environment": "stg", "Stack": SERVICES, "ManagedBy": "cloudformation"}


def second_apply_without_change(stg: Project) -> None:
    ran = stg.gli("apply", "--env", "stg")  # there is no input, because the command asks nothing
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Nothing to do" in ran.stdout
    assert ran.stdout.count("no changes") == 9


def update_two_properties(stg: Project) -> None:
    """ministack does not tell whether a log group is replaced, so its data counts as in danger: both are confirmed."""
    stg.edit("services.yaml", "LogDays: 30", "LogDays: 60")
    stg.edit("monitoring.yaml", "Threshold: 10737418240", "Threshold: 21474836480")
    planned = stg.gli("plan", "--env", "stg").stdout
    assert "ApiLogs (AWS::Logs::LogGroup /gli/api-server/staging) (perhaps" in planned
    assert "RetentionInDays" in planned
    assert "DatabaseStorage (AWS::CloudWatch::Alarm stg-gli-database-storage)" in planned
    typed = "stg\ntake the data of ApiLogs, FrontendLogs and WebsocketLogs\n"
    ran = stg.gli("apply", "--env", "stg", typed=typed)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert set(_retention(stg).values()) == {60}
    alarms = stg.aws.client("cloudwatch").describe_alarms(AlarmNames=["stg-gli-database-storage"])
    assert alarms["MetricAlarms"][0]["Threshold"] == 21474836480


def drift_of_a_manual_edit(stg: Project) -> None:
    unchanged = stg.gli("drift", "--env", "stg")
    assert unchanged.returncode == 3, "ministack compares nothing of the network: nobody can tell"
    assert "stg-gli-network: cannot tell, 0 of " in unchanged.stdout
    assert f"{SERVICES}: as applied" in unchanged.stdout
    logs, sns = stg.aws.client("logs"), stg.aws.client("sns")
    logs.put_retention_policy(logGroupName="/gli/api-server/staging", retentionInDays=3)
    (topic,) = [t["TopicArn"] for t in sns.list_topics()["Topics"] if t["TopicArn"].endswith(":stg-gli-alerts")]
    sns.delete_topic(TopicArn=topic)
    ran = stg.gli("drift", "--env", "stg")
    assert ran.returncode == 1
    assert f"{SERVICES}: drifted" in ran.stdout
    assert "ApiLogs (AWS::Logs::LogGroup /gli/api-server/staging): RetentionInDays is 3" in ran.stdout
    assert "and the template says 60" in ran.stdout
    assert f"Alerts (AWS::SNS::Topic {topic}) was deleted" in ran.stdout
    logs.put_retention_policy(logGroupName="/gli/api-server/staging", retentionInDays=60)
    sns.create_topic(Name="stg-gli-alerts")


def failed_update(stg: Project) -> None:
    with _alarm_that_fails(stg):
        ran = stg.gli("apply", "--env", "stg", typed="stg\n")
    assert ran.returncode == 1
    assert "  FAILED   Failing (AWS::CloudWatch::Alarm): " in ran.stdout
    assert "stg-gli-alerts is UPDATE_ROLLBACK_COMPLETE. The first failure: Failing (AWS::CloudWatch" in ran.stderr
    assert "Nothing to do" in stg.gli("plan", "--env", "stg").stdout


def replace_what_holds_data(stg: Project) -> None:
    stg.edit("frontends.yaml", "${Environment}-gli-admin-frontend", "${Environment}-gli-admin-pages")
    planned = stg.gli("plan", "--env", "stg").stdout.splitlines()
    assert planned[1] == "Takes data away:"
    assert planned[2].startswith("  -/+ replace AdminBucket (AWS::S3::Bucket stg-gli-admin-frontend)")
    assert "its data stays in the old one" in planned[2]
    for options, typed in (([], "stg\n"), ([], "stg\nyes\n"), (["--yes"], "yes\n")):
        ran = stg.gli("apply", "--env", "stg", *options, typed=typed)
        assert ran.returncode == 1, "that data is taken away has words of its own, which no option says"
        assert "stg-gli-admin-pages" not in _buckets(stg)
    ran = stg.gli("apply", "--env", "stg", typed="stg\ntake the data of AdminBucket\nstg\n")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "More than was shown" in ran.stdout, "a later stack names the bucket too, which the plan could not know"
    assert {"stg-gli-admin-pages", "stg-gli-admin-frontend"} <= _buckets(stg)


def keep_the_code_that_runs(stg: Project) -> None:
    """An apply keeps the code that the pipelines deployed, and a deployment alone is not a change."""
    _deploy(stg, "a" * 40)
    ran = stg.gli("apply", "--env", "stg", typed="stg\n")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert _image(stg).endswith(f"/gli-api:{'a' * 40}")
    _deploy(stg, "b" * 40)
    assert "Nothing to do" in stg.gli("plan", "--env", "stg").stdout
    stg.edit("services.yaml", "Cpu: '512'", "Cpu: '1024'")
    ran = stg.gli("apply", "--env", "stg", typed="stg\n")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert _image(stg).endswith(f"/gli-api:{'b' * 40}")


def delete(stg: Project) -> None:
    """Delete the stacks by hand: `gli infra` deletes no stack."""
    for name in ("access", "monitoring", "frontends", "certificate", "services", "data", "network", "alerts"):
        region = "us-east-1" if name == "certificate" else "ap-northeast-2"
        stg.aws.client("cloudformation", region).delete_stack(StackName=f"stg-gli-{name}")
    stg.aws.client("cloudformation").delete_stack(StackName="gli-shared")
    assert not _stacks(stg)
    filters = [{"Name": "cidr", "Values": ["10.1.0.0/16"]}]
    assert not stg.aws.client("ec2").describe_vpcs(Filters=filters)["Vpcs"]
    assert "stg-gli-user-frontend" in _buckets(stg), "what holds data is kept"
    assert set(_retention(stg)) == {f"/gli/{n}/staging" for n in ("api-server", "user-frontend", "websocket")}


def test_a_failed_creation_gives_its_reason_and_the_next_step(
    aws: Ministack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prod = project(tmp_path_factory.mktemp("prod"), aws, "prod")
    with _alarm_that_fails(prod):
        ran = prod.gli("apply", "--env", "prod", typed="prod\n")
    assert ran.returncode == 1
    assert "prod-gli-alerts is ROLLBACK_COMPLETE. The first failure: Failing (AWS::CloudWatch::Alarm): " in ran.stderr
    again = prod.gli("apply", "--env", "prod", typed="prod\n")
    assert again.returncode == 1
    assert "prod-gli-alerts is ROLLBACK_COMPLETE: " in again.stderr
    assert "delete the stack, and apply again" in again.stderr
    (shared,) = aws.client("cloudformation").describe_stacks(StackName="gli-shared")["Stacks"]
    assert shared["EnableTerminationProtection"] is True, "production's stacks can't be deleted by mistake"
    cloudformation = aws.client("cloudformation")
    cloudformation.update_termination_protection(StackName="gli-shared", EnableTerminationProtection=False)
    for name in ("prod-gli-alerts", "gli-shared"):
        cloudformation.delete_stack(StackName=name)


def test_production_is_never_confirmed_by_an_option(stg: Project) -> None:
    ran = stg.gli("apply", "--env", "prod", "--yes")
    assert ran.returncode == 2
    assert "--yes is not for prod" in ran.stderr


def test_another_account_is_refused_before_anything_is_asked(stg: Project) -> None:
    path = stg.folder / "environments.toml"
    text = path.read_text()
    path.write_text(text.replace('account_id = "000000000000"', 'account_id = "123456789012"'))
    ran = stg.gli("plan", "--env", "stg")
    path.write_text(text)
    assert ran.returncode == 2
    assert "these credentials are of the account 000000000000" in ran.stderr


def test_ministack_lacks_exactly_the_listed_types(aws: Ministack) -> None:
    tables = [Template(path).tables for path in (ROOT / "infrastructure").glob("*.yaml")]
    used = {resource["Type"] for table in tables for resource in table["Resources"].values()}
    refused = {type_ for type_ in used if "Unrecognized resource types" in (_refusal(aws, type_) or "")}
    assert refused == LACKING.keys()


def test_ministack_still_lacks_the_listed_attributes(aws: Ministack) -> None:
    database = {
        "Engine": "postgres",
        "DBInstanceClass": "db.t4g.micro",
        "AllocatedStorage": 20,
        "MasterUsername": "gli",
        "ManageMasterUserPassword": True,
    }
    for type_, attribute in LACKING_ATTRIBUTES:
        reference = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::GetAtt": ["X", attribute]}}}
        reasons = _created(aws, {"X": {"Type": type_, "Properties": database}, "Y": reference})
        assert f"{attribute} does not exist" in reasons, f"ministack knows {attribute}: take it off the list"


def test_ministack_still_lacks_the_listed_properties(aws: Ministack) -> None:
    alarm = {
        "Metrics": [{"Id": "a", "Expression": "1"}],
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "Threshold": 1,
    }
    for type_, key in LACKING_PROPERTIES:
        reasons = _created(aws, {"X": {"Type": type_, "Properties": alarm}})
        assert f"Properties.{key}" in reasons, f"ministack knows {key} of {type_}: take it off the list"


def _refusal(aws: Ministack, type_: str) -> str | None:
    body = json.dumps({"Resources": {"X": {"Type": type_}}})
    try:
        aws.client("cloudformation").create_change_set(
            StackName="lacking",
            ChangeSetName="x",
            ChangeSetType="CREATE",
            TemplateBody=body,
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
    except ClientError as e:
        return str(e)
    aws.client("cloudformation").delete_stack(StackName="lacking")
    return None


def _created(aws: Ministack, resources: dict[str, object]) -> str:
    """Create a stack of these resources and delete it again; returns ministack's reasons for failures."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName="lacking", TemplateBody=json.dumps({"Resources": resources}))
    for _ in range(50):
        (stack,) = cloudformation.describe_stacks(StackName="lacking")["Stacks"]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(0.1)
    events = cloudformation.describe_stack_events(StackName="lacking")["StackEvents"]
    cloudformation.delete_stack(StackName="lacking")
    return " ".join(str(e.get("ResourceStatusReason", "")) for e in events)


def _stacks(stg: Project) -> list[str]:
    found = [
        stack
        for region in ("ap-northeast-2", "us-east-1")
        for stack in stg.aws.client("cloudformation", region).describe_stacks()["Stacks"]
    ]
    return [s["StackName"] for s in found if s["StackStatus"] != "DELETE_COMPLETE"]


def _created_resources(stg: Project) -> set[str]:
    found = set()
    for region in ("ap-northeast-2", "us-east-1"):
        cloudformation = stg.aws.client("cloudformation", region)
        for stack in cloudformation.describe_stacks()["Stacks"]:
            name = stack["StackName"]
            pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
            all_ = [r for page in pages for r in page["StackResourceSummaries"]]
            found |= {f"{name}/{r['LogicalResourceId']}" for r in all_ if r["ResourceStatus"] == "CREATE_COMPLETE"}
    return found


def _has_a_lacking_property(resource: Resource) -> bool:
    return any(resource.type == type_ and key in resource.properties for type_, key in LACKING_PROPERTIES)


@contextmanager
def _alarm_that_fails(stack: Project) -> Iterator[None]:
    """An alarm on an expression, which ministack can't create: it fails during an apply, not before."""
    alarm = (
        "Resources:\n  Failing:\n    Type: AWS::CloudWatch::Alarm\n    DependsOn: Alerts\n    Properties:\n"
        "      Metrics:\n      - Id: a\n        Expression: '1'\n      ComparisonOperator: GreaterThanThreshold\n"
        "      EvaluationPeriods: 1\n      Threshold: 1\n"
    )
    stack.edit("alerts.yaml", "Resources:\n", alarm)
    yield
    stack.edit("alerts.yaml", alarm, "Resources:\n")


def _retention(stg: Project) -> dict[str, int]:
    groups = stg.aws.client("logs").describe_log_groups(logGroupNamePrefix="/gli/")["logGroups"]
    return {g["logGroupName"]: g["retentionInDays"] for g in groups}


def _secret(stg: Project, name: str) -> str:
    return str(stg.aws.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])


def _buckets(stg: Project) -> set[str]:
    return {b["Name"] for b in stg.aws.client("s3").list_buckets()["Buckets"]}


def _image(stg: Project) -> str:
    ecs = stg.aws.client("ecs")
    (service,) = ecs.describe_services(cluster="gli-api-cluster", services=["stg-gli-api"])["services"]
    definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    return str(definition["containerDefinitions"][0]["image"])


def _deploy(stg: Project, revision: str) -> None:
    """Deploy like a pipeline: register a task definition with another image, and update the service."""
    ecs, image = stg.aws.client("ecs"), _image(stg).rpartition(":")[0]
    container = {"name": "api", "image": f"{image}:{revision}", "portMappings": [{"containerPort": 8000}]}
    new = ecs.register_task_definition(family="stg-gli-api", networkMode="awsvpc", containerDefinitions=[container])
    arn = new["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster="gli-api-cluster", service="stg-gli-api", taskDefinition=arn)
