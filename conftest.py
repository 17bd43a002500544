"""Every observation that a check can ask for, by name.

A fixture here waits for the probe of the same name, which the observatory started for all selected checks at once
before the first of them ran. `target` is what the check is asked of, `environment` what --env names (gli.plugin).
"""

from gli.observe import amqp, dns, frontend, git, http, postgres, redis, secrets, tls, websocket
from gli.observe.aws import balancer as elb
from gli.observe.aws import compute, data, edge, identity, network, storage, watching
from gli.plugin import fixture_for

# from a user's side
addresses = fixture_for(dns.addresses)
tls_session = fixture_for(tls.tls_session)
landing = fixture_for(http.landing)
plain_http_answer = fixture_for(http.plain_http_answer)
deep_health = fixture_for(http.deep_health)
served_revisions = fixture_for(http.served_revisions)
contract_answers = fixture_for(http.contract_answers)
anonymous_answer = fixture_for(http.anonymous_answer)
error_page = fixture_for(http.error_page)
preflights = fixture_for(http.preflights)
index = fixture_for(frontend.index)
assets = fixture_for(frontend.assets)
deep_link = fixture_for(frontend.deep_link)
missing_asset = fixture_for(frontend.missing_asset)
websocket_session = fixture_for(websocket.websocket_session)
foreign_websocket = fixture_for(websocket.foreign_websocket)

# the data tier
database_port = fixture_for(postgres.database_port)
application_login = fixture_for(postgres.application_login)
database_state = fixture_for(postgres.database_state)
application_cache = fixture_for(redis.application_cache)
cache_state = fixture_for(redis.cache_state)
broker_state = fixture_for(amqp.broker_state)

# the AWS control plane
caller_identity = fixture_for(identity.caller_identity)
security_groups = fixture_for(network.security_groups)
database_instance = fixture_for(data.database_instance)
replication_group = fixture_for(data.replication_group)
endpoints = fixture_for(data.endpoints)
secret_state = fixture_for(secrets.secret_state)
secret = fixture_for(secrets.secret)
clusters = fixture_for(compute.clusters)
ecs_service = fixture_for(compute.ecs_service)
running_image = fixture_for(compute.running_image)
registry_image = fixture_for(compute.registry_image)
balancer = fixture_for(elb.balancer)
routes = fixture_for(elb.routes)
target_health = fixture_for(elb.target_health)
zone = fixture_for(edge.zone)
alias_targets = fixture_for(edge.alias_targets)
distribution = fixture_for(edge.distribution)
certificates = fixture_for(edge.certificates)
bucket = fixture_for(storage.bucket)
public_access_block = fixture_for(storage.public_access_block)
bucket_policy = fixture_for(storage.bucket_policy)
log_groups = fixture_for(watching.log_groups)
alarms = fixture_for(watching.alarms)
topics = fixture_for(watching.topics)
live_dimensions = fixture_for(watching.live_dimensions)

# the release
heads = fixture_for(git.heads)
release = fixture_for(git.release)
code_migrations = fixture_for(git.code_migrations)
