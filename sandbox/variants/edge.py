"""Common set-ups of buckets, distributions and DNS names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from gli.config.services import Frontend
from sandbox.aws.account import EDGE_REGION
from sandbox.faults.common import KEY_FOR_CLOUDFRONT, changed_listener, encrypted_bucket
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import alias_zone, api, both, change_records, invalidated, listener, region, rule, service

_IDENTITY = "E2QWRUHAPOMQZL"


def _frontends(sandbox: Sandbox) -> list[Frontend]:
    """The frontends of both environments: checks compare their distributions."""
    return [f for environment in both(sandbox) for f in environment.frontends.values()]


@contextmanager
def _distributions(sandbox: Sandbox, change: Callable[[Frontend, dict[str, Any]], None]) -> Iterator[None]:
    """Change the configuration of every frontend's distribution."""
    cloudfront = sandbox.aws("cloudfront", EDGE_REGION)
    before = []
    for frontend in _frontends(sandbox):
        items = cloudfront.list_distributions()["DistributionList"]["Items"]
        id_ = next(d["Id"] for d in items if frontend.host in d["Aliases"].get("Items", []))
        before.append((id_, cloudfront.get_distribution_config(Id=id_)["DistributionConfig"]))
        found = cloudfront.get_distribution_config(Id=id_)
        change(frontend, found["DistributionConfig"])
        cloudfront.update_distribution(Id=id_, IfMatch=found["ETag"], DistributionConfig=found["DistributionConfig"])
    try:
        yield
    finally:
        for id_, config in before:
            tag = cloudfront.get_distribution_config(Id=id_)["ETag"]
            cloudfront.update_distribution(Id=id_, IfMatch=tag, DistributionConfig=config)


@contextmanager
def _policies(sandbox: Sandbox, change: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
    """Change the policy of every frontend's bucket."""
    s3 = sandbox.aws("s3")
    before = {}
    for frontend in _frontends(sandbox):
        bucket = required(frontend.bucket)
        before[bucket] = s3.get_bucket_policy(Bucket=bucket)["Policy"]
        policy = json.loads(before[bucket])
        change(bucket, policy)
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    try:
        yield
    finally:
        for bucket, text in before.items():
            s3.put_bucket_policy(Bucket=bucket, Policy=text)


@variant("spa-error-mapping", tries=["cdn-error-mapping", "cdn-missing-asset-404", "cdn-no-source-maps"])
def spa_error_mapping(sandbox: Sandbox) -> Iterator[None]:
    """CloudFront answers 403 and 404 with /index.html and 200, and no function rewrites routes."""

    def change(_: Frontend, config: dict[str, Any]) -> None:
        config["DefaultCacheBehavior"]["FunctionAssociations"] = {"Quantity": 0}
        for error in config["CustomErrorResponses"]["Items"]:
            error.update(ResponsePagePath="/index.html", ResponseCode="200")

    with _distributions(sandbox, change):
        yield


@variant("origin-access-identity", tries=["cdn-origin-oac"])
def origin_access_identity(sandbox: Sandbox) -> Iterator[None]:
    """The distributions read buckets with an origin access identity; the policies allow the access control too."""

    def by_identity(_: Frontend, config: dict[str, Any]) -> None:
        for origin in config["Origins"]["Items"]:
            origin["OriginAccessControlId"] = ""
            origin["S3OriginConfig"] = {"OriginAccessIdentity": f"origin-access-identity/cloudfront/{_IDENTITY}"}

    def let_in(bucket: str, policy: dict[str, Any]) -> None:
        identity = f"arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity {_IDENTITY}"
        statement = {"Effect": "Allow", "Principal": {"AWS": identity}, "Action": "s3:GetObject"}
        policy["Statement"].append({**statement, "Resource": f"arn:aws:s3:::{bucket}/*"})

    with _policies(sandbox, let_in), _distributions(sandbox, by_identity):
        yield


@variant("bucket-policy-with-more", tries=["s3-policy-oac-only"])
def bucket_policy_with_more(sandbox: Sandbox) -> Iterator[None]:
    """The bucket policies also let the distribution list the bucket (ArnLike), and deny plain HTTP to everybody."""

    def add(bucket: str, policy: dict[str, Any]) -> None:
        own = policy["Statement"][0]
        own["Condition"] = {"ArnLike": {"AWS:SourceArn": own["Condition"]["StringEquals"]["AWS:SourceArn"]}}
        arn = f"arn:aws:s3:::{bucket}"
        policy["Statement"] += [
            {**own, "Sid": "List", "Action": "s3:ListBucket", "Resource": arn},
            {
                "Sid": "OnlyTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ]

    with _policies(sandbox, add):
        yield


@variant("account-blocks-public-access")
def account_blocks_public_access(sandbox: Sandbox) -> Iterator[None]:
    """The account blocks public access for all buckets; no bucket has its own public access block."""
    s3, account = sandbox.aws("s3"), service(sandbox)["serviceArn"].split(":")[4]
    buckets = [required(f.bucket) for f in sandbox.environment.frontends.values()]
    undo = sandbox.aws_overlay("account-public-access-block", account=account, on=True)
    before = {b: s3.get_public_access_block(Bucket=b)["PublicAccessBlockConfiguration"] for b in buckets}
    for bucket in buckets:
        s3.delete_public_access_block(Bucket=bucket)
    yield
    for bucket, configuration in before.items():
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=configuration)
    sandbox.aws_overlay("account-public-access-block", **undo)


@variant("second-origin", tries=["cdn-asks-for-the-page", "cdn-viewer-https"])
def second_origin(sandbox: Sandbox) -> Iterator[None]:
    """The distributions send /api/* to the load balancer, a second origin, and keep its /static/*; only the URLs of
    /downloads/* are signed."""
    name = required(sandbox.environment.load_balancer).name
    host = sandbox.aws("elbv2").describe_load_balancers(Names=[name])["LoadBalancers"][0]["DNSName"]

    def add(_: Frontend, config: dict[str, Any]) -> None:
        custom = {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "https-only"}
        config["Origins"]["Items"].append({"Id": "api", "DomainName": host, "CustomOriginConfig": custom})
        config["Origins"]["Quantity"] = len(config["Origins"]["Items"])
        path = {"PathPattern": "/api/*", "TargetOriginId": "api", "ViewerProtocolPolicy": "redirect-to-https"}
        groups = {"Enabled": True, "Quantity": 1, "Items": ["4b6c2a4e-7f10-4d0e-9a63-0f6f0f2a1c55"]}
        page = config["DefaultCacheBehavior"]["TargetOriginId"]
        signed = {**path, "PathPattern": "/downloads/*", "TargetOriginId": page, "TrustedKeyGroups": groups}
        optimized = "658327ea-f89d-4fab-a63d-7e88639e58f6"
        static = {**path, "PathPattern": "/static/*", "CachePolicyId": optimized}
        paths = [{**one, "Compress": True} for one in (static, path, signed)]
        config["CacheBehaviors"] = {"Quantity": len(paths), "Items": paths}

    with _distributions(sandbox, add):
        yield


@variant("scripts-as-x-javascript")
def scripts_as_x_javascript(sandbox: Sandbox) -> Iterator[None]:
    """Scripts are served as application/x-javascript, which every browser runs; comments and texts in them name old
    chunks, and keys that every browser may have."""
    with ExitStack() as stored:
        for frontend in sandbox.environment.frontends.values():
            stored.enter_context(_scripts_as(sandbox, required(frontend.bucket), "application/x-javascript"))
        yield


_OLD_NAMES = b"""
/* was: import("./Old-4f9a1c2b.js") */
// import("./Older-4f9a1c2b.js")
export const help = "write: import x from './example-4f9a1c2b.js'";
export const open = ["pk_live_51GLIGLIGLIGLIGLI", "AIzaGLIGLIGLIGLIGLIGLIGLIGLIGLIGLIGLIGLI", "AKIAIOSFODNN7EXAMPLE"];
export const pem = (body) => "-----BEGIN PRIVATE KEY-----\\n" + body, url = "postgres://user:${password}@db.example.com/";
"""


@contextmanager
def _scripts_as(sandbox: Sandbox, bucket: str, kind: str) -> Iterator[None]:
    s3 = sandbox.aws("s3")
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"] if o["Key"].endswith(".js")]
    before = {key: s3.get_object(Bucket=bucket, Key=key) for key in keys}
    objects = {k: (o["Body"].read(), o["ContentType"], o["CacheControl"]) for k, o in before.items()}
    for key, (body, _, kept) in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body + _OLD_NAMES, ContentType=kind, CacheControl=kept)
    try:
        yield
    finally:
        for key, (body, usual, kept) in objects.items():
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=usual, CacheControl=kept)


@variant("private-zone-of-the-same-name", tries=["dns-delegated"])
def private_zone_of_the_same_name(sandbox: Sandbox) -> Iterator[None]:
    """The VPC has a private zone of the same name, with other records."""
    route53, ec2 = sandbox.aws("route53"), sandbox.aws("ec2")
    vpc = {"VPCRegion": required(sandbox.environment.aws).region, "VPCId": ec2.describe_vpcs()["Vpcs"][0]["VpcId"]}
    zone = route53.create_hosted_zone(
        Name=required(sandbox.environment.dns.zone),
        CallerReference=uuid4().hex,
        HostedZoneConfig={"PrivateZone": True, "Comment": "inside"},
        VPC=vpc,
    )["HostedZone"]["Id"]
    record = {"Name": f"{api(sandbox).host}.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "10.10.0.7"}]}
    change_records(sandbox, zone, [("CREATE", record)])
    yield
    change_records(sandbox, zone, [("DELETE", record)])
    route53.delete_hosted_zone(Id=zone)


@variant("distribution-with-a-wildcard")
def distribution_with_a_wildcard(sandbox: Sandbox) -> Iterator[None]:
    """The distributions have a wildcard alias too, beside the frontend's host."""
    zone = required(sandbox.environment.dns.zone)

    def add(frontend: Frontend, config: dict[str, Any]) -> None:
        config["Aliases"]["Items"].append(f"*.{frontend.host.partition('.')[0]}-apps.{zone}")
        config["Aliases"]["Quantity"] = len(config["Aliases"]["Items"])

    with _distributions(sandbox, add):
        yield


@variant("strict-content-security-policy", tries=["s3-index-object"])
def strict_content_security_policy(sandbox: Sandbox) -> Iterator[None]:
    """The pages have a strict Content-Security-Policy, which names what they use, a manifest with an icon, the hash of
    their entry script, and a style for browsers without scripts that nobody uploaded."""
    services = sandbox.environment.services
    own = f"https://{services['api'].host} wss://{services['websocket'].host}:443"
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src {own}"
    )
    s3 = sandbox.aws("s3")
    before = []
    for frontend in sandbox.environment.frontends.values():
        bucket = required(frontend.bucket)
        page = s3.get_object(Bucket=bucket, Key="index.html")
        body, how = page["Body"].read(), {"ContentType": page["ContentType"], "CacheControl": page["CacheControl"]}
        before.append((bucket, body, how))
        links = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        links += (
            '<link rel="manifest" href="/app.webmanifest"><noscript><link rel="stylesheet" href="/no.css"></noscript>'
        )
        named = re.search(rb'<script type="module" src="/(assets/[^"]+)"', body)
        assert named is not None
        script = s3.get_object(Bucket=bucket, Key=named[1].decode())["Body"].read()
        digest = base64.b64encode(hashlib.sha384(script).digest())
        body = body.replace(b'<script type="module"', b'<script type="module" integrity="sha384-' + digest + b'"')
        s3.put_object(Bucket=bucket, Key="app.webmanifest", Body=b"{}", ContentType="application/manifest+json")
        s3.put_object(
            Bucket=bucket, Key="index.html", Body=body.replace(b"<title>", links.encode() + b"<title>"), **how
        )
        invalidated(sandbox, frontend)
    yield
    for bucket, body, how in before:
        s3.put_object(Bucket=bucket, Key="index.html", Body=body, **how)
        s3.delete_object(Bucket=bucket, Key="app.webmanifest")
    for frontend in sandbox.environment.frontends.values():
        invalidated(sandbox, frontend)


@variant("some-countries-kept-out", tries=["cdn-lets-users-in"])
def some_countries_kept_out(sandbox: Sandbox) -> Iterator[None]:
    """The distributions keep out viewers of countries in which GLI has no users."""
    out = {"GeoRestriction": {"RestrictionType": "blacklist", "Quantity": 2, "Items": ["CU", "IR"]}}
    with _distributions(sandbox, lambda _, config: config.update(Restrictions=out)):
        yield


@contextmanager
def _routed(sandbox: Sandbox, host: str, *policies: dict[str, Any]) -> Iterator[None]:
    """Put an alias record for each routing policy in place of the host's only record."""
    zone = alias_zone(sandbox)
    found = sandbox.aws("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    own = [r for r in found if r["Name"] == f"{host}." and r["Type"] in ("A", "AAAA")]
    several = [{**r, "SetIdentifier": str(n), **policy} for r in own for n, policy in enumerate(policies)]
    change_records(sandbox, zone, [("DELETE", record) for record in own])
    change_records(sandbox, zone, [("UPSERT", record) for record in several])
    try:
        yield
    finally:
        change_records(sandbox, zone, [("DELETE", record) for record in several])
        change_records(sandbox, zone, [("UPSERT", record) for record in own])


def _another_target(name: str) -> dict[str, Any]:
    name = f"{name}.ap-northeast-2.elb.amazonaws.com."
    return {"HostedZoneId": "ZWKZPGTI48KDX", "DNSName": name, "EvaluateTargetHealth": False}


@variant("weighted-records")
def weighted_records(sandbox: Sandbox) -> Iterator[None]:
    """The API's host has two weighted alias records to the load balancer, and one of weight 0 to an older one."""
    older = {"Weight": 0, "AliasTarget": _another_target("old-gli-alb-1")}
    with _routed(sandbox, api(sandbox).host, {"Weight": 90}, {"Weight": 10}, older):
        yield


@variant("failover-records")
def failover_records(sandbox: Sandbox) -> Iterator[None]:
    """The WebSocket server's host has a primary alias record, and a secondary one to another load balancer."""
    host = sandbox.environment.services["websocket"].host
    spare = {"Failover": "SECONDARY", "AliasTarget": _another_target("gli-sorry-page-1")}
    with _routed(sandbox, host, {"Failover": "PRIMARY"}, spare):
        yield


@variant("old-versions-expire", tries=["s3-keeps-the-page"])
def old_versions_expire(sandbox: Sandbox) -> Iterator[None]:
    """Lifecycle rules of the buckets remove old versions, broken uploads, previews and tagged objects; one is off."""
    s3 = sandbox.aws("s3")
    rules = [
        {"ID": "old", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 30}},
        {"ID": "broken", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"ID": "previews", "Filter": {"Prefix": "previews/"}, "Expiration": {"Days": 7}},
        {"ID": "tagged", "Filter": {"Tag": {"Key": "keep", "Value": "no"}}, "Expiration": {"Days": 7}},
    ]
    enabled = [rule | {"Status": "Enabled"} for rule in rules]
    off = {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    buckets = [required(f.bucket) for f in sandbox.environment.frontends.values()]
    for bucket in buckets:
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [*enabled, off]})
    yield
    for bucket in buckets:
        s3.delete_bucket_lifecycle(Bucket=bucket)


@variant("second-provider-of-dns")
def second_provider_of_dns(sandbox: Sandbox) -> Iterator[None]:
    """Another provider serves a copy of the zone: the parent names its servers too, and so does the zone itself."""
    route53, zone = sandbox.aws("route53"), alias_zone(sandbox)
    name = f"{sandbox.environment.dns.zone}."
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    before = next(r for r in records if (r["Name"], r["Type"]) == (name, "NS"))
    both = {**before, "ResourceRecords": [*before["ResourceRecords"], {"Value": "dns1.p01.example.net."}]}
    change_records(sandbox, zone, [("UPSERT", both)])
    yield
    change_records(sandbox, zone, [("UPSERT", before)])


@variant("https-records", tries=["dns-host-resolves"])
def https_records(sandbox: Sandbox) -> Iterator[None]:
    """The hosts have HTTPS records: of HTTP/2 alone, with a right address, and with the host's own name."""
    zone, hosts = alias_zone(sandbox), sandbox.environment.hosts
    values = ('1 . alpn="h2"', '1 . alpn="h2,h3" ipv4hint=127.0.0.1', "1 {}. alpn=h2")
    records = [
        {"Name": f"{host}.", "Type": "HTTPS", "TTL": 300, "ResourceRecords": [{"Value": value.format(host)}]}
        for host, value in zip(hosts, values, strict=False)
    ]
    change_records(sandbox, zone, [("CREATE", record) for record in records])
    yield
    change_records(sandbox, zone, [("DELETE", record) for record in records])


@variant("authorities-by-an-alias", tries=["acm-validation-record", "dns-caa-allows-acm"])
def authorities_by_an_alias(sandbox: Sandbox) -> Iterator[None]:
    """The zone names the authorities that may issue its certificates, and a host has an alias of this CAA record.

    Amazon issued the certificate of the load balancer, and finds its validation records.
    """
    zone, apex, host = alias_zone(sandbox), f"{sandbox.environment.dns.zone}.", f"{api(sandbox).host}."
    values = [{"Value": f'0 issue "{name}"'} for name in ("letsencrypt.org", "amazon.com")]
    target = {"HostedZoneId": zone.rpartition("/")[2], "DNSName": apex, "EvaluateTargetHealth": False}
    at = region(sandbox)
    undo = sandbox.aws_overlay("certificates-by", region=at, kind="AMAZON_ISSUED")
    arn = listener(sandbox)["Certificates"][0]["CertificateArn"]
    issued = sandbox.aws("acm").describe_certificate(CertificateArn=arn)["Certificate"]["DomainValidationOptions"]
    proofs = {o["ResourceRecord"]["Name"]: o["ResourceRecord"]["Value"] for o in issued}
    records: list[dict[str, Any]] = [
        {"Name": name, "Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": value}]}
        for name, value in proofs.items()
        if name.endswith(f".{apex}")
    ]
    records += [
        {"Name": apex, "Type": "CAA", "TTL": 300, "ResourceRecords": values},
        {"Name": host, "Type": "CAA", "AliasTarget": target},
    ]
    change_records(sandbox, zone, [("CREATE", record) for record in records])
    yield
    change_records(sandbox, zone, [("DELETE", record) for record in records])
    sandbox.aws_overlay("certificates-by", **undo)


@variant("only-the-newest-tls", tries=["tls-min-version"])
def only_the_newest_tls(sandbox: Sandbox) -> Iterator[None]:
    """The load balancers and the distributions of both environments take TLS 1.3 alone."""
    with ExitStack() as changed:
        for environment in both(sandbox):
            newest = changed_listener(sandbox, environment, SslPolicy="ELBSecurityPolicy-TLS13-1-3-2021-06")
            changed.enter_context(newest)
        viewers = {"MinimumProtocolVersion": "TLSv1.3_2025"}
        changed.enter_context(_distributions(sandbox, lambda _, config: config["ViewerCertificate"].update(viewers)))
        yield


@variant("records-by-country")
def records_by_country(sandbox: Sandbox) -> Iterator[None]:
    """The API's host has a record for users in Korea, and another one for all others."""
    with _routed(sandbox, api(sandbox).host, *({"GeoLocation": {"CountryCode": place}} for place in ("KR", "*"))):
        yield


@variant("bucket-under-an-own-key", tries=["s3-encryption"])
def bucket_under_an_own_key(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's bucket encrypts with a key of ours, by its alias; the key lets CloudFront decrypt."""
    kms = sandbox.aws("kms")
    key = kms.create_key(Description="frontends", Policy=json.dumps(KEY_FOR_CLOUDFRONT))["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/frontends", TargetKeyId=key)
    with encrypted_bucket(sandbox, KMSMasterKeyID="alias/frontends"):
        yield
    kms.delete_alias(AliasName="alias/frontends")


@variant("names-beside-the-hosts", tries=["dns-env-not-crossed"])
def names_beside_the_hosts(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution also serves www, and the API's rule an older name of its host."""
    zone, user = alias_zone(sandbox), sandbox.environment.frontends["user"]
    elbv2, own = sandbox.aws("elbv2"), rule(sandbox)
    added = {user.host: f"www.{user.host}", api(sandbox).host: f"old-{api(sandbox).host}"}

    def add(frontend: Frontend, config: dict[str, Any]) -> None:
        if frontend.host == user.host:
            config["Aliases"]["Items"].append(added[user.host])
            config["Aliases"]["Quantity"] = len(config["Aliases"]["Items"])

    known = sandbox.aws("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    records = [
        {**record, "Name": f"{new}."}
        for record in known
        for host, new in added.items()
        if record["Name"] == f"{host}." and record["Type"] in ("A", "AAAA")
    ]
    two = {"Values": [api(sandbox).host, added[api(sandbox).host]]}
    elbv2.modify_rule(RuleArn=own["RuleArn"], Conditions=[{"Field": "host-header", "HostHeaderConfig": two}])
    change_records(sandbox, zone, [("CREATE", record) for record in records])
    with _distributions(sandbox, add):
        yield
    change_records(sandbox, zone, [("DELETE", record) for record in records])
    elbv2.modify_rule(RuleArn=own["RuleArn"], Conditions=own["Conditions"])


@variant("certificate-of-45-days", tries=["tls-cert-expiry", "tls-san-covers-host"])
def certificate_of_45_days(sandbox: Sandbox) -> Iterator[None]:
    """All public hosts present a certificate that names each of them, and lasts for 45 days."""
    issued = sandbox.authority.issue(sandbox.environment.hosts, expires_in=timedelta(days=45)).context()
    relays = [sandbox.relay(name) for name in (*sandbox.environment.services, *sandbox.environment.frontends)]
    before = [relay.certificate for relay in relays]
    for relay in relays:
        relay.certificate = issued
    yield
    for relay, certificate in zip(relays, before, strict=True):
        relay.certificate = certificate
