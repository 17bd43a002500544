"""The edge of one environment: certificates, buckets, distributions, DNS records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from gli.config.environments import Environment
from gli.config.services import Frontend
from sandbox import frontends
from sandbox.aws.account import EDGE_REGION, Account
from sandbox.aws.seed_compute import Balancer
from sandbox.site import Pems, Site, required

CLOUDFRONT_ZONE = "Z2FDTNDATAQYW2"
INDEX = "index.html"
_SECURITY_HEADERS_POLICY = "67f7725c-6f97-4210-82d7-5512b31e9d03"  # managed by AWS: HSTS and similar headers
_REWRITE = """\
function handler(event) {
  // A route of the application has no extension; a file that is missing stays missing.
  if (!event.request.uri.includes(".")) event.request.uri = "/index.html";
  return event.request;
}
"""


@dataclass(frozen=True)
class Edge:
    """Resources that both environments share: certificates, origin access control, function, zone."""

    certificate: str
    edge_certificate: str
    access_control: str
    function: str
    zone: str


def seed_shared(account: Account, site: Site, pems: Pems) -> Edge:
    """Import the certificate in the regions of the load balancers and of CloudFront; make the zone."""
    imported = {
        "Certificate": pems.certificate.encode(),
        "PrivateKey": pems.private_key.encode(),
        "CertificateChain": pems.chain.encode(),
    }
    cloudfront = account("cloudfront", EDGE_REGION)
    control = cloudfront.create_origin_access_control(
        OriginAccessControlConfig={
            "Name": "gli-frontends",
            "SigningProtocol": "sigv4",
            "SigningBehavior": "always",
            "OriginAccessControlOriginType": "s3",
        }
    )["OriginAccessControl"]["Id"]
    function = cloudfront.create_function(
        Name="gli-frontends",
        FunctionConfig={"Comment": "routes of the application are its index", "Runtime": "cloudfront-js-2.0"},
        FunctionCode=_REWRITE.encode(),
    )["FunctionSummary"]["FunctionMetadata"]["FunctionARN"]
    zone = account("route53").create_hosted_zone(Name=required(site.environment.dns.zone), CallerReference="sandbox")
    return Edge(
        certificate=account("acm").import_certificate(**imported)["CertificateArn"],
        edge_certificate=account("acm", EDGE_REGION).import_certificate(**imported)["CertificateArn"],
        access_control=control,
        function=function,
        zone=zone["HostedZone"]["Id"].rpartition("/")[2],
    )


def seed_frontends(account: Account, site: Site, environment: Environment, edge: Edge) -> dict[str, str]:
    """Make private buckets with the builds, and the only distribution that may read each.

    Returns {host: domain name of the distribution}.
    """
    return {f.host: _frontend(account, site, environment, f, edge) for f in environment.frontends.values()}


def _frontend(account: Account, site: Site, environment: Environment, frontend: Frontend, edge: Edge) -> str:
    bucket = required(frontend.bucket)
    _bucket(account, bucket)
    upload(account, bucket, frontends.build(environment, frontend, site.revision(environment, frontend.repository)))
    config = _distribution_config(frontend, f"{bucket}.s3.{account.region}.amazonaws.com", edge)
    cloudfront = account("cloudfront", EDGE_REGION)
    distribution = cloudfront.create_distribution(DistributionConfig=config)["Distribution"]
    account("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(_read_only_for(distribution["ARN"], bucket)))
    invalidate(account, distribution["Id"])
    return str(distribution["DomainName"])


def invalidate(account: Account, distribution: str) -> None:
    """Invalidate the index page, as the last step of a deploy does."""
    paths = ["/", "/index.html"]
    batch = {"Paths": {"Quantity": len(paths), "Items": paths}, "CallerReference": uuid4().hex}
    account("cloudfront", EDGE_REGION).create_invalidation(DistributionId=distribution, InvalidationBatch=batch)


def _bucket(account: Account, bucket: str) -> None:
    """Make a private, versioned, encrypted bucket."""
    s3 = account("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": account.region})
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(blocks, True))
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def upload(account: Account, bucket: str, assets: Mapping[str, frontends.Asset]) -> None:
    """Upload a build to a bucket."""
    for key, asset in assets.items():
        account("s3").put_object(
            Bucket=bucket,
            Key=key,
            Body=asset.body,
            ContentType=asset.content_type,
            CacheControl=asset.cache_control,
        )


def _read_only_for(distribution: str, bucket: str) -> dict[str, Any]:
    """The bucket policy that lets one distribution read, and no other caller."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyTheDistribution",
                "Effect": "Allow",
                "Principal": {"Service": "cloudfront.amazonaws.com"},
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{bucket}/*",
                "Condition": {"StringEquals": {"AWS:SourceArn": distribution}},
            }
        ],
    }


def _distribution_config(frontend: Frontend, origin: str, edge: Edge) -> dict[str, Any]:
    """A distribution for a private bucket: routes are rewritten to the index, a missing file gives 404."""
    return {
        "CallerReference": origin,
        "Comment": frontend.host,
        "Enabled": True,
        "DefaultRootObject": "index.html",
        "Aliases": {"Quantity": 1, "Items": [frontend.host]},
        "Origins": {
            "Quantity": 1,
            "Items": [
                {
                    "Id": "bucket",
                    "DomainName": origin,
                    "OriginAccessControlId": edge.access_control,
                    "S3OriginConfig": {"OriginAccessIdentity": ""},
                }
            ],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "bucket",
            "ViewerProtocolPolicy": "redirect-to-https",
            "Compress": True,
            "ResponseHeadersPolicyId": _SECURITY_HEADERS_POLICY,
            "FunctionAssociations": {
                "Quantity": 1,
                "Items": [{"FunctionARN": edge.function, "EventType": "viewer-request"}],
            },
        },
        "CustomErrorResponses": {"Quantity": 2, "Items": [_not_found(403), _not_found(404)]},
        "ViewerCertificate": {
            "CloudFrontDefaultCertificate": False,
            "ACMCertificateArn": edge.edge_certificate,
            "SSLSupportMethod": "sni-only",
            "MinimumProtocolVersion": "TLSv1.2_2021",
        },
    }


def _not_found(status: int) -> dict[str, Any]:
    """Show 404 to viewers for a missing object, where S3 answers 403 because the distribution may not list."""
    return {"ErrorCode": status, "ResponsePagePath": "/404.html", "ResponseCode": "404", "ErrorCachingMinTTL": 10}


def seed_records(
    account: Account, environment: Environment, edge: Edge, balancer: Balancer, distributions: Mapping[str, str]
) -> None:
    """Make an alias record for every public host: to the balancer for services, to the distribution for frontends."""
    targets = {s.host: (balancer.dns_name, balancer.zone) for s in environment.services.values()}
    targets |= {host: (name, CLOUDFRONT_ZONE) for host, name in distributions.items()}
    changes = [
        {"Action": "CREATE", "ResourceRecordSet": _alias(host, target, zone)}
        for host, (target, zone) in targets.items()
    ]
    account("route53").change_resource_record_sets(HostedZoneId=edge.zone, ChangeBatch={"Changes": changes})


def _alias(host: str, target: str, zone: str) -> dict[str, Any]:
    """An alias record as Route 53 takes it."""
    return {
        "Name": f"{host}.",
        "Type": "A",
        "AliasTarget": {"HostedZoneId": zone, "DNSName": f"{target}.", "EvaluateTargetHealth": False},
    }
