"""Every observation that a check can ask for, by name.

Each fixture here waits for the probe of the same name. The observatory starts the probes of all selected checks at
once, before the first check runs. `gli.run.plugin` has two more fixtures: `target`, the table of the check's target,
and `environment`, the environment that --env names.
"""

from gli.observe.aws import (
    acm,
    autoscaling,
    balancer_routes,
    cloudfront,
    cloudwatch,
    cloudwatch_alarms,
    codedeploy,
    data_tier,
    ec2_security_groups,
    ecr,
    ecs_services,
    ecs_tasks,
    elasticache,
    iam,
    identity,
    kms,
    load_balancer,
    logs,
    mq,
    parity,
    rds,
    route53,
    s3,
    subnets,
    task_definitions,
)
from gli.observe.aws import vpc as vpcs
from gli.observe.data import amqp, postgres, postgres_application, redis, secrets, sqlite, vantage
from gli.observe.edge import browser, dns, frontend, http, tls, websocket
from gli.observe.release import git_history, git_refs, github_runs, running_revisions
from gli.run.plugin import fixture_for

# the run's own configuration
configuration = fixture_for(vantage.configuration)

# from a user's side
addresses = fixture_for(dns.addresses)
tls_session = fixture_for(tls.tls_session)
landing = fixture_for(http.landing)
plain_http_answer = fixture_for(http.plain_http_answer)
deep_health = fixture_for(http.deep_health)
served_revisions = fixture_for(http.served_revisions)
contract_answers = fixture_for(http.contract_answers)
burst = fixture_for(http.burst)
cookie_answer = fixture_for(http.cookie_answer)
anonymous_answer = fixture_for(http.anonymous_answer)
error_page = fixture_for(http.error_page)
preflights = fixture_for(http.preflights)
cors_answers = fixture_for(http.cors_answers)
index = fixture_for(frontend.index)
page_visits = fixture_for(browser.page_visits)
assets = fixture_for(frontend.assets)
parts = fixture_for(frontend.parts)
bundle_origins = fixture_for(frontend.bundle_origins)
deep_link = fixture_for(frontend.deep_link)
source_maps = fixture_for(frontend.source_maps)
missing_asset = fixture_for(frontend.missing_asset)
bucket_answer = fixture_for(frontend.bucket_answer)
websocket_session = fixture_for(websocket.websocket_session)
frontend_websockets = fixture_for(websocket.frontend_websockets)
foreign_websocket = fixture_for(websocket.foreign_websocket)
anonymous_websocket = fixture_for(websocket.anonymous_websocket)
quiet_websocket = fixture_for(websocket.quiet_websocket)

# the data tier
sqlite_state = fixture_for(sqlite.sqlite_state)
working_tree_migrations = fixture_for(sqlite.working_tree_migrations)
database_port = fixture_for(postgres.database_port)
application_login = fixture_for(postgres.application_login)
application_rights = fixture_for(postgres_application.application_rights)
database_state = fixture_for(postgres.database_state)
sessions = fixture_for(postgres.sessions)
application_cache = fixture_for(redis.application_cache)
cache_state = fixture_for(redis.cache_state)
cache_rights = fixture_for(redis.cache_rights)
broker_state = fixture_for(amqp.broker_state)

# the AWS control plane
caller_identity = fixture_for(identity.caller_identity)
private_ports = fixture_for(vantage.private_ports)
security_groups = fixture_for(ec2_security_groups.security_groups)
prefix_lists = fixture_for(ec2_security_groups.prefix_lists)
database_instance = fixture_for(rds.database_instance)
amazon_mq = fixture_for(mq.amazon_mq)
broker_groups = fixture_for(mq.broker_groups)
maintenance = fixture_for(rds.maintenance)
newest_snapshot = fixture_for(rds.newest_snapshot)
engines = fixture_for(data_tier.engines)
configurations = fixture_for(parity.configurations)
replication_group = fixture_for(elasticache.replication_group)
cache_groups = fixture_for(elasticache.cache_groups)
endpoints = fixture_for(data_tier.endpoints)
secret_state = fixture_for(secrets.secret_state)
secret = fixture_for(secrets.secret)
clusters = fixture_for(ecs_services.clusters)
ecs_service = fixture_for(ecs_services.ecs_service)
task_definition = fixture_for(task_definitions.task_definition)
dangling_references = fixture_for(task_definitions.dangling_references)
missing_fields = fixture_for(task_definitions.missing_fields)
edges = fixture_for(parity.edges)
running_image = fixture_for(ecr.running_image)
registry_image = fixture_for(ecr.registry_image)
pulled_image = fixture_for(ecr.pulled_image)
sidecar_images = fixture_for(ecr.sidecar_images)
registry_repositories = fixture_for(ecr.registry_repositories)
image_scan = fixture_for(ecr.image_scan)
service_tasks = fixture_for(ecs_tasks.service_tasks)
service_deployment = fixture_for(ecs_tasks.service_deployment)
deployment_group = fixture_for(codedeploy.deployment_group)
dead_tasks = fixture_for(ecs_tasks.dead_tasks)
secret_use = fixture_for(ecs_tasks.secret_use)
execution_role = fixture_for(iam.execution_role)
iam_roles = fixture_for(iam.iam_roles)
task_role = fixture_for(iam.task_role)
scalable_targets = fixture_for(autoscaling.scalable_targets)
scaling_policies = fixture_for(autoscaling.scaling_policies)
network_subnets = fixture_for(subnets.network_subnets)
task_ingress = fixture_for(subnets.task_ingress)
vpc = fixture_for(vpcs.vpc)
places = fixture_for(vpcs.places)
balancer = fixture_for(load_balancer.balancer)
routes = fixture_for(load_balancer.routes)
reached_rules = fixture_for(balancer_routes.reached_rules)
route_shares = fixture_for(balancer_routes.route_shares)
target_health = fixture_for(load_balancer.target_health)
balancer_attributes = fixture_for(load_balancer.balancer_attributes)
health_checks = fixture_for(load_balancer.health_checks)
draining = fixture_for(load_balancer.draining)
keys = fixture_for(kms.keys)
zone = fixture_for(route53.zone)
name_servers = fixture_for(route53.name_servers)
alias_targets = fixture_for(route53.alias_targets)
tls_policies = fixture_for(acm.tls_policies)
distribution = fixture_for(cloudfront.distribution)
invalidations = fixture_for(cloudfront.invalidations)
certificates = fixture_for(acm.certificates)
bucket = fixture_for(s3.bucket)
index_object = fixture_for(s3.index_object)
public_access_block = fixture_for(s3.public_access_block)
bucket_settings = fixture_for(s3.bucket_settings)
bucket_policy = fixture_for(s3.bucket_policy)
log_groups = fixture_for(cloudwatch_alarms.log_groups)
log_tail = fixture_for(logs.log_tail)
log_errors = fixture_for(logs.log_errors)
alarms = fixture_for(cloudwatch_alarms.alarms)
topics = fixture_for(cloudwatch_alarms.topics)
dashboards = fixture_for(cloudwatch_alarms.dashboards)
dead_dimensions = fixture_for(cloudwatch_alarms.dead_dimensions)
metrics = fixture_for(cloudwatch.metrics)
error_rate = fixture_for(cloudwatch.error_rate)
latency = fixture_for(cloudwatch.latency)
traffic = fixture_for(cloudwatch.traffic)
utilisation = fixture_for(cloudwatch.utilisation)

# the release
heads = fixture_for(git_refs.heads)
release = fixture_for(git_refs.release)
deployments = fixture_for(git_history.deployments)
history = fixture_for(git_history.history)
difference = fixture_for(git_history.difference)
code_migrations = fixture_for(git_history.code_migrations)
code_schema = fixture_for(git_history.code_schema)
evidence = fixture_for(running_revisions.evidence)
way_back = fixture_for(running_revisions.way_back)
workflow = fixture_for(github_runs.workflow)
workflow_run = fixture_for(github_runs.workflow_run)
deployed_release = fixture_for(github_runs.deployed_release)
