"""Production's part of AWS: an Aurora cluster, a balancer, images, a zone and the credentials, seeded into moto."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import boto3

REGION = "eu-central-1"
HOST = "shop.example"
GROUPS = (("balancer", (80, 443), ""), ("web", (8000,), "balancer"), ("database", (5432,), "web"))
"""Security groups with their ports, and whom each lets in: the first lets in everybody."""


class Aws:
    """The account of an endpoint."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def __getattr__(self, service: str):
        return boto3.client(
            service, REGION, endpoint_url=self._endpoint, aws_access_key_id="shop", aws_secret_access_key="shop"
        )


def network(aws: Aws) -> tuple[dict[str, list[str]], dict[str, str], str]:
    """Two public and two private subnets, and a security group for each part, which lets in the part before it."""
    ec2 = aws.ec2
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    subnets: dict[str, list[str]] = {"public": [], "private": []}
    for n, (kind, zone) in enumerate((k, z) for k in subnets for z in "ab"):
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=REGION + zone)
        subnets[kind].append(made["Subnet"]["SubnetId"])
    for kind, members in subnets.items():
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        for subnet in members:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        if kind == "public":
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    groups: dict[str, str] = {}
    for name, ports, origin in GROUPS:
        made = ec2.create_security_group(GroupName=f"shop-{name}", Description=name, VpcId=vpc)
        groups[name] = made["GroupId"]
        world = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        source = {"UserIdGroupPairs": [{"GroupId": groups[origin]}]} if origin else world
        rules = [{"IpProtocol": "tcp", "FromPort": p, "ToPort": p, **source} for p in ports]
        ec2.authorize_security_group_ingress(GroupId=groups[name], IpPermissions=rules)
    return subnets, groups, vpc


def database(aws: Aws, subnets: list[str], group: str) -> str:
    """An Aurora cluster with a writer and a reader; its endpoint."""
    rds = aws.rds
    rds.create_db_subnet_group(DBSubnetGroupName="shop", DBSubnetGroupDescription="shop", SubnetIds=subnets)
    cluster = rds.create_db_cluster(
        DBClusterIdentifier="shop-production",
        Engine="aurora-postgresql",
        MasterUsername="postgres",
        MasterUserPassword="of-nobody",
        DatabaseName="shop",
        DBSubnetGroupName="shop",
        VpcSecurityGroupIds=[group],
        BackupRetentionPeriod=14,
        StorageEncrypted=True,
        DeletionProtection=True,
    )["DBCluster"]
    for name in ("a", "b"):
        rds.create_db_instance(
            DBInstanceIdentifier=f"shop-production-{name}",
            DBClusterIdentifier="shop-production",
            DBInstanceClass="db.r6g.large",
            Engine="aurora-postgresql",
            AvailabilityZone=REGION + name,
            DBSubnetGroupName="shop",
            PubliclyAccessible=False,
        )
    rds.create_db_cluster_snapshot(DBClusterIdentifier="shop-production", DBClusterSnapshotIdentifier="before-release")
    return cluster["Endpoint"]


def balancers(aws: Aws, subnets: list[str], groups: dict[str, str], vpc: str, pems: dict[str, bytes]) -> dict[str, str]:
    """An application load balancer for the web server, and a network load balancer for the sockets: host to target."""
    certificates = [{"CertificateArn": aws.acm.import_certificate(**pems)["CertificateArn"]}]
    redirect = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}
    secured = {"Port": 443, "Certificates": certificates, "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06"}
    targets = {}
    for host, name, type_, protocol in (
        (HOST, "shop", "application", "HTTP"),
        (f"live.{HOST}", "shop-live", "network", "TCP"),
    ):
        guarded = {"SecurityGroups": [groups["balancer"]]} if type_ == "application" else {}
        (made,) = aws.elbv2.create_load_balancer(Name=name, Type=type_, Subnets=subnets, **guarded)["LoadBalancers"]
        arn = made["LoadBalancerArn"]
        (group,) = aws.elbv2.create_target_group(Name=name, Protocol=protocol, Port=8000, VpcId=vpc)["TargetGroups"]
        forward = {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}
        listens = "HTTPS" if type_ == "application" else "TLS"
        aws.elbv2.create_listener(LoadBalancerArn=arn, Protocol=listens, DefaultActions=[forward], **secured)
        attributes = {"deletion_protection.enabled": "true"}
        if type_ == "application":
            aws.elbv2.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[redirect])
            attributes["idle_timeout.timeout_seconds"] = "120"
        chosen = [{"Key": key, "Value": value} for key, value in attributes.items()]
        aws.elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=chosen)
        targets[host] = made["DNSName"]
    return targets


def zone(aws: Aws, targets: dict[str, str]) -> list[str]:
    """The hosted zone with an alias for each host; its name servers."""
    made = aws.route53.create_hosted_zone(Name=HOST, CallerReference="shop")
    changes = []
    for host, target in targets.items():
        alias = {"HostedZoneId": "Z215JYRZR1TBD5", "DNSName": target, "EvaluateTargetHealth": False}
        changes.append({"Action": "CREATE", "ResourceRecordSet": {"Name": host, "Type": "A", "AliasTarget": alias}})
    aws.route53.change_resource_record_sets(HostedZoneId=made["HostedZone"]["Id"], ChangeBatch={"Changes": changes})
    return made["DelegationSet"]["NameServers"]


def images(aws: Aws, commit: str) -> None:
    """One repository for both images of a commit, told apart by their tags."""
    ecr = aws.ecr
    ecr.create_repository(
        repositoryName="shop", imageTagMutability="IMMUTABLE", imageScanningConfiguration={"scanOnPush": True}
    )
    for part in ("web", "live"):
        digest = "sha256:" + hashlib.sha256(f"{part} {commit}".encode()).hexdigest()
        layers = {"schemaVersion": 2, "config": {"digest": digest, "size": 1}, "layers": []}
        ecr.put_image(
            repositoryName="shop",
            imageTag=f"{part}-{commit:.7}",
            imageManifest=json.dumps(layers),
            imageManifestMediaType="application/vnd.docker.distribution.manifest.v2+json",
        )


def metrics(aws: Aws) -> None:
    """What RDS has measured in the last quarter of an hour."""
    now, gib = datetime.now(UTC), 2**30
    measured = {"CPUUtilization": 12, "FreeLocalStorage": 20 * gib, "FreeableMemory": 8 * gib}
    measured |= {"ReadLatency": 0.001, "WriteLatency": 0.002}
    for name in ("a", "b"):
        dimensions = [{"Name": "DBInstanceIdentifier", "Value": f"shop-production-{name}"}]
        data = [
            {"MetricName": metric, "Dimensions": dimensions, "Timestamp": now - timedelta(minutes=n), "Value": value}
            for metric, value in measured.items()
            for n in range(15)
        ]
        aws.cloudwatch.put_metric_data(Namespace="AWS/RDS", MetricData=data)


def log(aws: Aws) -> None:
    """A log group in which the web server has just written."""
    logs, now = aws.logs, int(datetime.now(UTC).timestamp() * 1000)
    logs.create_log_group(logGroupName="/shop/production/web")
    logs.put_retention_policy(logGroupName="/shop/production/web", retentionInDays=30)
    logs.create_log_stream(logGroupName="/shop/production/web", logStreamName="i-1")
    logs.put_log_events(
        logGroupName="/shop/production/web",
        logStreamName="i-1",
        logEvents=[{"timestamp": now, "message": "GET /api/products/ 200"}],
    )


def credentials(aws: Aws, database_urls: dict[str, str], cache_url: str) -> None:
    """A secret with the database for the shop, another for who verifies it, and one parameter for the cache."""
    for user, name in (("shop", "shop/production"), ("verify", "shop/production-verify")):
        value = json.dumps({"DATABASE_URL": database_urls[user]})
        aws.secretsmanager.create_secret(Name=name, SecretString=value)
    aws.ssm.put_parameter(Name="/shop/production/cache-url", Value=cache_url, Type="SecureString")
