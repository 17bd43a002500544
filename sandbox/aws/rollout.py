"""The AWS part of the deploy workflows: push the image, update task definition and service, upload, invalidate."""

from __future__ import annotations

from gli.config.services import Frontend, Service
from sandbox import frontends
from sandbox.aws.account import EDGE_REGION, Account
from sandbox.aws.seed_compute import push, task_definition
from sandbox.aws.seed_edge import INDEX, invalidate, upload
from sandbox.site import Site, required


def deploy(account: Account, site: Site) -> None:
    """Bring every service and frontend of the environment to its revision, where it is not yet. Blocking."""
    for service in site.environment.services.values():
        _push_images(account, site, service)
        _deploy_service(account, site, service)
    for frontend in site.environment.frontends.values():
        _deploy_frontend(account, site, frontend)


def _push_images(account: Account, site: Site, service: Service) -> None:
    """Push the images of both environments: they share the registry."""
    image = required(service.image)
    known = {i.get("imageTag") for i in account("ecr").list_images(repositoryName=image, maxResults=1000)["imageIds"]}
    for revision in site.images(service.repository):
        if revision not in known:
            push(account, image, revision, service.repository)


def _deploy_service(account: Account, site: Site, service: Service) -> None:
    ecs, where = account("ecs"), required(service.ecs)
    running = ecs.describe_services(cluster=where.cluster, services=[where.service])["services"][0]["taskDefinition"]
    definition = ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
    container = definition["containerDefinitions"][0]
    registry, _, tag = container["image"].partition("@")[0].rpartition(":")
    revision = site.revision(site.environment, service.repository)
    if tag == revision:
        return
    container = container | {"image": f"{registry}:{revision}"}
    roles = (definition["executionRoleArn"], definition["taskRoleArn"])
    arn = task_definition(account, where.service, container, *roles)
    ecs.update_service(cluster=where.cluster, service=where.service, taskDefinition=arn)


def _deploy_frontend(account: Account, site: Site, frontend: Frontend) -> None:
    bucket = required(frontend.bucket)
    build = frontends.build(site.environment, frontend, site.revision(site.environment, frontend.repository))
    if account("s3").get_object(Bucket=bucket, Key=INDEX)["Body"].read() == build[INDEX].body:
        return
    upload(account, bucket, build)
    pages = account("cloudfront", EDGE_REGION).get_paginator("list_distributions").paginate()
    items = (item for page in pages for item in page["DistributionList"].get("Items", []))
    invalidate(account, next(i["Id"] for i in items if frontend.host in i["Aliases"].get("Items", [])))
