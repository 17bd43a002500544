"""Every observation that a check can ask for, by name.

A fixture here waits for the probe of the same name, which the observatory started for all selected checks at once
before the first of them ran. `target` is what the check is asked of, `environment` what --env names (gli.plugin).
"""

from gli.observe import (
    actions,
    amqp,
    dns,
    frontend,
    git,
    http,
    postgres,
    redis,
    secrets,
    sqlite,
    tls,
    vantage,
    websocket,
)
from gli.observe import evidence as evidence_probes
from gli.observe import history as history_probes
from gli.observe.aws import balancer as elb
from gli.observe.aws import (
    compute,
    data,
    definition,
    edge,
    identity,
    logs,
    messaging,
    network,
    parity,
    registry,
    roles,
    scaling,
    storage,
    subnets,
    tasks,
    watching,
)
from gli.observe.aws import metrics as cloudwatch
from gli.plugin import fixture_for

# what is verified, before anything is
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
index = fixture_for(frontend.index)
assets = fixture_for(frontend.assets)
deep_link = fixture_for(frontend.deep_link)
source_maps = fixture_for(frontend.source_maps)
missing_asset = fixture_for(frontend.missing_asset)
bucket_answer = fixture_for(frontend.bucket_answer)
websocket_session = fixture_for(websocket.websocket_session)
foreign_websocket = fixture_for(websocket.foreign_websocket)
anonymous_websocket = fixture_for(websocket.anonymous_websocket)
quiet_websocket = fixture_for(websocket.quiet_websocket)

# the data tier
sqlite_state = fixture_for(sqlite.sqlite_state)
working_tree_migrations = fixture_for(sqlite.working_tree_migrations)
database_port = fixture_for(postgres.database_port)
application_login = fixture_for(postgres.application_login)
database_state = fixture_for(postgres.database_state)
sessions = fixture_for(postgres.sessions)
application_cache = fixture_for(redis.application_cache)
cache_state = fixture_for(redis.cache_state)
broker_state = fixture_for(amqp.broker_state)

# the AWS control plane
caller_identity = fixture_for(identity.caller_identity)
private_ports = fixture_for(vantage.private_ports)
security_groups = fixture_for(network.security_groups)
prefix_lists = fixture_for(network.prefix_lists)
database_instance = fixture_for(data.database_instance)
amazon_mq = fixture_for(messaging.amazon_mq)
broker_groups = fixture_for(messaging.broker_groups)
maintenance = fixture_for(data.maintenance)
newest_snapshot = fixture_for(data.newest_snapshot)
engines = fixture_for(data.engines)
configurations = fixture_for(parity.configurations)
replication_group = fixture_for(data.replication_group)
cache_groups = fixture_for(data.cache_groups)
endpoints = fixture_for(data.endpoints)
secret_state = fixture_for(secrets.secret_state)
secret = fixture_for(secrets.secret)
clusters = fixture_for(compute.clusters)
ecs_service = fixture_for(compute.ecs_service)
task_definition = fixture_for(definition.task_definition)
dangling_references = fixture_for(definition.dangling_references)
edges = fixture_for(parity.edges)
running_image = fixture_for(registry.running_image)
registry_image = fixture_for(registry.registry_image)
registry_repositories = fixture_for(registry.registry_repositories)
image_scan = fixture_for(registry.image_scan)
service_tasks = fixture_for(tasks.service_tasks)
service_deployment = fixture_for(tasks.service_deployment)
dead_tasks = fixture_for(tasks.dead_tasks)
secret_use = fixture_for(tasks.secret_use)
execution_role = fixture_for(roles.execution_role)
iam_roles = fixture_for(roles.iam_roles)
task_role = fixture_for(roles.task_role)
scalable_targets = fixture_for(scaling.scalable_targets)
scaling_policies = fixture_for(scaling.scaling_policies)
network_subnets = fixture_for(subnets.network_subnets)
task_ingress = fixture_for(subnets.task_ingress)
balancer = fixture_for(elb.balancer)
routes = fixture_for(elb.routes)
target_health = fixture_for(elb.target_health)
balancer_attributes = fixture_for(elb.balancer_attributes)
health_checks = fixture_for(elb.health_checks)
zone = fixture_for(edge.zone)
alias_targets = fixture_for(edge.alias_targets)
tls_policies = fixture_for(edge.tls_policies)
distribution = fixture_for(edge.distribution)
invalidations = fixture_for(edge.invalidations)
certificates = fixture_for(edge.certificates)
bucket = fixture_for(storage.bucket)
index_object = fixture_for(storage.index_object)
public_access_block = fixture_for(storage.public_access_block)
bucket_settings = fixture_for(storage.bucket_settings)
bucket_policy = fixture_for(storage.bucket_policy)
log_groups = fixture_for(watching.log_groups)
log_tail = fixture_for(logs.log_tail)
log_errors = fixture_for(logs.log_errors)
alarms = fixture_for(watching.alarms)
topics = fixture_for(watching.topics)
live_dimensions = fixture_for(watching.live_dimensions)
metrics = fixture_for(cloudwatch.metrics)
error_rate = fixture_for(cloudwatch.error_rate)
latency = fixture_for(cloudwatch.latency)
traffic = fixture_for(cloudwatch.traffic)
utilisation = fixture_for(cloudwatch.utilisation)

# the release
heads = fixture_for(git.heads)
release = fixture_for(git.release)
deployments = fixture_for(git.deployments)
history = fixture_for(history_probes.history)
difference = fixture_for(history_probes.difference)
code_migrations = fixture_for(history_probes.code_migrations)
evidence = fixture_for(evidence_probes.evidence)
way_back = fixture_for(evidence_probes.way_back)
workflow = fixture_for(actions.workflow)
workflow_run = fixture_for(actions.workflow_run)
