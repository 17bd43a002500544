"""`gli discover`: the tables that the account, the hosts and the repositories show, and comments on all others."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from served import in_a_thread

from conftest import ROOT, Sandbox, gli_forked, run_forked
from gli.config import environments
from gli.config.environments import Environment
from gli.observe.aws.ecs_services import EcsService
from gli.observe.aws.identity import Identity
from gli.observe.aws.load_balancer import Balancer, Listener, Rule
from gli.observe.aws.task_definitions import Container, Reference
from gli.observe.discovery import draft
from gli.observe.discovery.account import Account, Alarm, Deployed, Site, Store, sites_of
from gli.observe.discovery.description import describe
from gli.observe.discovery.places import places
from gli.observe.discovery.web import META, MISSING_PATH, Seen
from gli.observe.discovery.whole import Whole
from gli.observe.edge.http import HttpExchange, revision_in
from gli.observe.engine import guard
from gli.observe.engine.guard import WriteRefused
from gli.observe.engine.observatory import Observatory
from gli.observe.release.git_refs import Heads

OURS = ("--match=stg-*", "--match=stg/*", "--match=*/staging")
SUITE = ("tests_smoke", "tests_infra", "checklists", "conftest.py", "pytest.ini")
NOT_TOLD = {
    "aws.role": "a pattern for all runners; one identity was seen",
    "counterpart": "a decision: the account does not say which names are the other environment's",
    "extends": "the discovered tables stand alone",
    "provider": "starts the sandbox; no environment shows it",
    "overlay": "a path of this machine",
    "github.*": "GitHub is not asked; the test gives the keys that have no default",
    "alarms.metric_filters": "the lines are the application's; no line of a log is copied",
    "repositories": "the names are the user's; the files of the workflows are not read",
    "*load_balancer.test_port": "no listener has it; a comment names the port that the security group opens",
    "services.api.deep_health_path": "refuses to answer without a token; a comment names it",
    "services.api.deep_health_secret": "no value of a secret is read",
    "services.api.protected_path": "a refusal does not tell what is protected",
    "services.api.cors_path": "no answer names it",
    "services.api.cookies*": "no answer names the path that sets cookies",
    "services.api.contract": "what an application promises is a decision",
    "services.api.error_path": "another path that is missing, as good as this one",
    "services.websocket.protected_path": "no answer names it",
    "services.websocket.subprotocols": "offered by the page's code, not by the server",
    "services.websocket.idle_hold_s": "a limit is a decision",
    "services.websocket.echo*": "a conversation is the application's own",
    "frontends.*.route": "any path of the application, which only its code knows",
    "frontends.*.countries": "where users are; no distribution is restricted",
    "cache.commands": "what the application sends, which only its code knows",
    "database.migrations": "no commit is read",
    "database.tables": "the database is not asked",
    "database.minimum_backup_days": "a limit is a decision",
    "cache.keys": "the application's own",
    "cache.channels": "the application's own",
    "broker.queues": "the broker is not asked",
    "broker.dead_letter_queues": "the broker is not asked",
    "metrics.window_minutes": "a limit is a decision",
    "notify*": "who gets messages is a decision",
}
"""Keys of the sandbox's table that discovery can't tell, and why."""


def gli(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return gli_forked(*arguments, root=cwd)


@pytest.fixture(scope="module")
def discovered(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that knows the way to the sandbox only, and the tables that were discovered there."""
    root = tmp_path_factory.mktemp("discovered")
    for name in SUITE:
        (root / name).symlink_to(ROOT / name)
    names = [repository.name for repository in environments.load(ROOT, "stg").repositories]
    repositories = "".join(f'[[repositories]]\nname = "{name}"\n' for name in names)
    overlay = f'overlay = "{ROOT}/.sandbox/{sandbox.name}/environment.toml"'
    github = '[sandbox.github]\nowner = "gli"\nenvironment = "staging"'
    remote = '[sandbox.git]\nremote = "git@github.com:gli/{repository}.git"'
    file = root / "environments.toml"
    file.write_text(f"{repositories}[sandbox]\n{overlay}\n{github}\n{remote}\n")
    done = gli("discover", "--env=sandbox", "--region=ap-northeast-2", *OURS, "--to=found.toml", cwd=root)
    assert done.returncode == 0, done.stderr
    file.write_text((root / "found.toml").read_text())
    return root


def test_the_sandbox_is_described_but_for_what_nothing_shows(discovered: Path) -> None:
    found, real = (dict(leaves(environments.load(root, "sandbox", overlay={}))) for root in (discovered, ROOT))
    differing = {path for path in {**found, **real} if found.get(path) != real.get(path)}
    untold = {path for path in differing if not any(fnmatchcase(path, pattern) for pattern in NOT_TOLD)}
    assert untold == {"aws.account_id"}, {path: (found.get(path), real.get(path)) for path in untold}
    assert found["aws.account_id"] == "123456789012", "the file leaves it to the overlay"
    stale = [pattern for pattern in NOT_TOLD if not any(fnmatchcase(path, pattern) for path in differing)]
    assert not stale, "these keys are told: take them out of the list"


def leaves(environment: Environment) -> Iterator[tuple[str, Any]]:
    """Every key with its value; the order of a list does not count."""

    def of(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from of(inner, f"{path}.{key}" if path else key)
        else:
            yield path, sorted(map(repr, value)) if isinstance(value, list) else value

    return of(environment.model_dump(mode="json"), "")


def test_the_discovered_tables_reach_a_whole_run(discovered: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    ran = run_forked("--env=sandbox", root=discovered, reports=tmp_path, env={"GLI_SANDBOX": sandbox.name})
    assert ran.verdict is not None, ran.output
    # Nobody but the user can name the port of the test listener, and the counterpart, whose role GitHub may assume too.
    assert ran.roots == {"sg-alb-ingress", "iam-github-oidc"}
    coverage = ran.verdict["coverage"]
    assert coverage["judged"] > 0.8 * coverage["checks"]


def test_discovery_asks_aws_only_what_is_on_its_list(discovered: Path, sandbox: Sandbox) -> None:
    before = sandbox.aws_requests()
    text = gli("discover", "--env=sandbox", *OURS, cwd=discovered).stdout
    asked = {service for service, n in sandbox.aws_requests().items() if n > before.get(service, 0)}
    assert asked == guard.DISCOVERY_READS.keys()
    assert "left out, because no --match fits: database prod-gli-database" in text
    assert "prod" not in json.dumps(tomllib.loads(text))


def test_a_run_may_not_list_an_account_and_discovery_may_read_no_secret(discovered: Path) -> None:
    environment = environments.load(discovered, "sandbox")
    for reads, service, operation in (
        (guard.AWS_READS, "ecs", "list_clusters"),
        (guard.DISCOVERY_READS, "secretsmanager", "batch_get_secret_value"),
    ):
        observatory = Observatory(environment, aws_reads=reads)
        client = observatory._aws._client(service, "ap-northeast-2")
        with pytest.raises(WriteRefused, match="not on the list of reads"):
            getattr(client, operation)(**({"SecretIdList": ["x"]} if service == "secretsmanager" else {}))
        observatory.close()


def test_the_policy_of_discovery_allows_its_list_and_no_secret() -> None:
    (statement,) = json.loads(gli("iam-policy", "--discover", cwd=ROOT).stdout)["Statement"]
    assert {"ecs:ListClusters", "ecs:ListServices", "elasticloadbalancing:DescribeRules"} <= {*statement["Action"]}
    assert not [a for a in statement["Action"] if a.startswith(("sts:", "ssm:Get")) or "Value" in a]
    assert len(statement["Action"]) == sum(map(len, guard.DISCOVERY_READS.values())) - 1


def test_without_an_account_a_url_is_described(discovered: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    connect_to = "".join(f'"{host}:443" = "{address}"\n' for host, address in sandbox.status["hosts"].items())
    written = f'[shop.tls]\nca_file = "{sandbox.status["ca_file"]}"\n[shop.connect_to]\n{connect_to}'
    written = '[[repositories]]\nname = "gli_api-server"\n' + written
    (tmp_path / "environments.toml").write_text(written)
    urls = [f"--url=https://{host}" for host in sandbox.status["hosts"]]
    urls += ["--url=wss://stg-api.glibiz.com/live", "--repository=gli_api-server"]
    done = gli("discover", "--env=shop", *urls, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "environments.toml").write_text(done.stdout)
    shop = environments.load(tmp_path, "shop")
    api = shop.services["stg-api"]
    assert (api.health_path, api.version_path, api.version_at) == ("/health/", "/version", "revision")
    assert shop.services["stg-ws"].url == "wss://stg-ws.glibiz.com/ws/"
    assert {page.mount for page in shop.frontends.values()} == {"app"}
    assert shop.services["stg-api-socket"].url == "wss://stg-api.glibiz.com/live"
    assert "not seen: aws, dns, load_balancer" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--env=shop"], "gli: nothing to ask: give --region, --url, or both"),
        (["--env=shop", "--region=x", "--to=there.toml"], "gli: there.toml exists; name a new file"),
        (
            ["--env=shop", "--url=https://x", "--remote=git@host:shop.git"],
            "gli: environments.toml: [shop.git] remote =",
        ),
        (["--env=shop", "--url=shop"], "gli: 'shop' should be a URL with a host"),
    ],
)
def test_wrong_usage_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    (tmp_path / "there.toml").write_text("kept")
    done = gli("discover", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(sentence), done.stderr
    assert (tmp_path / "there.toml").read_text() == "kept"


COMMIT, OTHER = "3f8cc3d106c6ebae1f931f30e89ac35fe1381604", "1f475f2b0bc7f793eac403eed9fe671c56ec091b"


def container(name: str, image: str, *references: Reference) -> Container:
    return Container(name=name, image=f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/{image}", references=references)


def account(**parts: Any) -> Account:
    identity = Identity(account="123456789012", arn="arn:aws:iam::123456789012:user/x", region="r")
    return Account(identity=identity, **parts)


def text_of(whole: Whole) -> tuple[dict[str, Any], str]:
    """The tables of the environment `shop`, and the file."""
    text = draft.text(describe(whole), "shop", {}, [])
    return tomllib.loads(text)["shop"], text


def test_a_monorepo_with_short_tags_and_one_secret_is_described() -> None:
    urls = [
        Reference(
            variable=name,
            value_from=f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/all-a1B2c3:{name}::",
        )
        for name in ("DATABASE_URL", "REDIS_URL")
    ]
    web = Deployed(
        ecs=EcsService(name="shop-web", cluster="shop", status="ACTIVE", every_group=("g1",)),
        container=container("web", f"shop:web-{COMMIT[:7]}", *urls),
        port=8000,
    )
    rule = Rule(groups=("g1",))
    balancer = Balancer(
        name="shop-alb",
        state="active",
        dns_name="shop-alb-1.eu-central-1.elb.amazonaws.com",
        listeners=(Listener(port=443, protocol="HTTPS", rules=(rule,)),),
    )
    seen = account(
        services=(web,),
        balancers=(balancer,),
        health_paths={"g1": "/ht/"},
        zones=("example.com", "shop.example.com"),
        names={"shop.example.com": "shop-alb-1.eu-central-1.elb.amazonaws.com"},
        secrets=("shop/all",),
        databases=(Store(name="shop-production", port=5432),),
        untold={"broker": "mq:ListBrokers is denied to this role"},
    )
    heads = Heads(
        repository="shop", branches={"staging": OTHER, "production": COMMIT}, tags={"v1-20260101-090000": COMMIT}
    )
    answered = Seen(
        url="https://shop.example.com",
        statuses={"/": 302, MISSING_PATH: 404},
        deep={"/ht/?format=json": {"Database(alias='default')": "OK", "Cache": "OK"}},
    )
    whole = Whole(
        account=seen,
        region="eu-central-1",
        places=places(seen, ()),
        seen={"shop.example.com": answered},
        heads=(heads,),
        remote="git@github.com:shop/{repository}.git",
    )
    tables, text = text_of(whole)
    service = tables["services"]["web"]
    assert tables["branch"] == "production"
    assert (service["image"], service["tag"], service["repository"]) == ("shop", "web-{commit:.7}", "shop")
    assert service["url"] == "https://shop.example.com" and service["health_path"] == "/ht/"
    assert service["deep_health_values"] == {"Database(alias='default')": "OK", "Cache": "OK"}
    assert tables["dns"] == {"zone": "shop.example.com"}
    fields = {"url": "DATABASE_URL"}
    assert tables["database"] == {"secret": "shop/all", "fields": fields, "instance": "shop-production"}
    assert tables["cache"] == {"secret": "shop/all", "fields": {"url": "REDIS_URL"}}
    assert "# could not tell: broker: mq:ListBrokers is denied to this role" in text
    assert tables["git"]["deploy_tag"] == "v1-%Y%m%d-%H%M%S"
    assert "in every repository: production, staging" in text


def test_documents_of_health_and_of_a_build_are_described_by_json_paths(tmp_path: Path) -> None:
    """Spring Boot's actuator, and a page that names a short commit."""
    answers = {
        "/": f'<meta name="git-sha" content="{COMMIT:.12}"><main id="main"></main><script src="/a.js"></script>',
        "/actuator/health/readiness": '{"status": "UP", "components": {"db": {"status": "UP"}}}',
        "/actuator/info": json.dumps({"git": {"commit": {"id": COMMIT}}}),
        "/actuator/health": '{"status": "UP"}',
    }

    class Actuator(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            if self.headers["Host"].startswith("localhost"):
                self.send_header("X-Web-Build", COMMIT[:8])
            self.send_header("Content-Type", "text/html" if self.path == "/" else "application/json")
            self.end_headers()
            self.wfile.write(answers.get(self.path, "{}").encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Actuator) as server:
        in_a_thread(server)
        urls = [f"--url=http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost")]
        done = gli("discover", "--env=shop", urls[0], cwd=tmp_path)
        named = done.stdout.replace("services.127", "services.api").replace("127-page", "web")
        (tmp_path / "environments.toml").write_text(named)
        again = tomllib.loads(gli("discover", "--env=shop", cwd=tmp_path).stdout)
        (tmp_path / "environments.toml").unlink()
        answers = {"/": answers["/"].replace("git-sha", "author")}
        in_header = tomllib.loads(gli("discover", "--env=shop", urls[1], cwd=tmp_path).stdout)["shop"]
        server.shutdown()
    assert done.returncode == 0, done.stderr
    tables = tomllib.loads(done.stdout)["shop"]
    (api,), (page,) = tables["services"].values(), tables["frontends"].values()
    assert (api["health_path"], api["version_path"], api["version_at"]) == (
        *("/actuator/health", "/actuator/info", "git.commit.id"),
    )
    assert api["deep_health_path"] == "/actuator/health/readiness"
    assert api["deep_health_values"] == {"status": "UP", "components.db.status": "UP"}
    assert (page["build_meta"], page["version"]) == ("git-sha", "{commit:.12}")
    (page,) = in_header["frontends"].values()
    assert again == tomllib.loads(named)
    assert (page["version_path"], page["version_at"], page["version"]) == ("/", "header:x-web-build", "{commit:.8}")


@pytest.mark.parametrize(
    ("path", "answer", "pattern", "length"),
    [
        ("/", f"<main id=app></main><script src=/a.js></script><!-- Build: {COMMIT:.8} -->", "Build: ", 8),
        ("/", f"<script src=/build-{OTHER:.8}.js></script><html data-revision='{COMMIT}'>", "revision='", 40),
        ("/version", f"shop version 1.4.2-3-g{COMMIT:.7} (main)", r"version [\w.-]+[-+ (]+g?", 7),
        ("/info", json.dumps({"release": f"2026.11+{COMMIT:.7}"}), r'release": "[\w.-]+[-+ (]+g?', 7),
    ],
)
def test_a_commit_inside_a_text_is_found_and_read_again(
    tmp_path: Path, path: str, answer: str, pattern: str, length: int
) -> None:
    class Shop(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ("/", path) else 404)
            self.send_header("Content-Type", "text/html" if self.path == "/" else "text/plain")
            self.end_headers()
            self.wfile.write(answer.encode() if self.path == path else b"a shop")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        in_a_thread(server)
        done = gli("discover", "--env=shop", f"--url=http://127.0.0.1:{server.server_port}", cwd=tmp_path)
        server.shutdown()
    (tmp_path / "environments.toml").write_text(done.stdout)
    shop = environments.load(tmp_path, "shop")
    (told,) = (*shop.services.values(), *shop.frontends.values())
    assert (told.version_path, told.version_at) == (path, f"body:{pattern}([0-9a-f]{{7,40}})"), done.stdout
    again = HttpExchange(method="GET", url=told.url, status=200, seconds=0, body=answer.replace(COMMIT[:7], OTHER[:7]))
    found = revision_in(again, told.version_at)
    assert found is not None and found.startswith(OTHER[:7]) and len(found) == length


def test_what_no_answer_shows_is_a_comment() -> None:
    one = Deployed(
        ecs=EcsService(name="web", cluster="c", status="ACTIVE", every_group=("g1",)),
        container=container("web", "shop@sha256:" + "0" * 64),
    )
    whole = account(
        services=(one,),
        sites=(Site(domain_name="d1.cloudfront.net", aliases=(), bucket="shop-web"),),
        databases=(Store(name="shop-db"),),
        alarms=(Alarm(name="cpu", metrics=("CPUUtilization",), topics=()), Alarm(name="disk", metrics=(), topics=())),
    )
    tables, text = text_of(Whole(account=whole, region="r", places=places(whole, ()), heads=()))
    assert "not described: the ECS service c/web" in text
    assert "not described: database shop-db: write [ENV.database] with its secret and instance" in text
    assert "not described: the alarms cpu, disk" in text
    assert tables["frontends"]["shop-web"]["url"] == "https://d1.cloudfront.net"
    assert "services" not in tables and "database" not in tables and "alarms" not in tables


def test_a_page_and_its_api_on_one_host_before_instances_are_described() -> None:
    """Two balancers send every host to instances, which ECS does not know; names in DNS say which hosts there are."""
    balancer = Balancer(
        name="shop",
        state="active",
        dns_name="shop-1.eu-central-1.elb.amazonaws.com",
        listeners=(Listener(port=443, protocol="HTTPS", rules=(Rule(groups=("g1",)),)),),
    )
    end, other = "shop-1.eu-central-1.elb.amazonaws.com", "shop-live-1.eu-central-1.elb.amazonaws.com"
    network = balancer.model_copy(update={"name": "shop-live", "type": "network", "dns_name": other})
    whole = account(
        balancers=(network, balancer),
        health_paths={"g1": "/alive/"},
        names={"shop.example": end, "live.shop.example": other},
        secrets=("shop/production", "shop/production-verify", "ssm:/shop/production/cache-url"),
        databases=(Store(name="shop-production"),),
    )
    page = Seen(
        url="https://shop.example",
        page=True,
        ids=("products",),
        statuses={"/": 200, "/alive/": 200},
        revisions={"/api/version/": ("build.commit", COMMIT[:7])},
    )
    heads = Heads(repository="shop", branches={"staging": OTHER, "production": COMMIT}, tags={})
    tables, text = text_of(
        Whole(
            account=whole,
            places=places(whole, ()),
            seen={"shop.example": page, "live.shop.example": Seen(url="https://live.shop.example")},
            sockets={"live.shop.example": "/socket.io/?EIO=4&transport=websocket"},
            heads=(heads,),
            remote="git@git.shop.example:{repository}.git",
        )
    )
    api, live = tables["services"]["shop"], tables["services"]["live"]
    assert (api["url"], api["health_path"], api["version"]) == ("https://shop.example", "/alive/", "{commit:.7}")
    assert tables["load_balancer"] == {"name": "shop"}
    assert live["load_balancer"] == {"name": "shop-live", "type": "network"}
    assert live["url"] == "wss://live.shop.example/socket.io/?EIO=4&transport=websocket"
    assert tables["frontends"]["shop-page"] == {
        "url": "https://shop.example",
        "repository": "shop",
        "mount": "products",
        "version_path": "/api/version/",
        "version_at": "build.commit",
        "version": "{commit:.7}",
        "calls": [],
    }
    assert tables["git"]["branches"] == ["staging", "production"]
    secrets = {"secret": "shop/production", "verify_secret": "shop/production-verify"}
    assert tables["database"] == {**secrets, "instance": "shop-production"}
    assert tables["cache"]["secret"] == "ssm:/shop/production/cache-url"
    assert "# fields = " in text


def test_services_and_pages_that_share_a_host_are_described_below_their_paths() -> None:
    """Two services on instances behind rules by path; a page of a bucket, and another page below it."""
    host, end = "api.shop.example", "shop-1.eu-central-1.elb.amazonaws.com"
    deployed = [
        Deployed(
            ecs=EcsService(name=f"shop-{name}", cluster="c", status="ACTIVE", every_group=(name,)),
            container=container(name, f"shop/{name}:{tag}"),
            launch_type="EC2",
            network="bridge",
        )
        for name, tag in (("catalog", "1.4.0"), ("orders", COMMIT[:7]))
    ]
    rules = tuple(Rule(paths=(f"/{name}", f"/{name}/*"), groups=(name,)) for name in ("catalog", "orders"))
    balancer = Balancer(
        name="shop",
        state="active",
        dns_name=end,
        listeners=(Listener(port=443, protocol="HTTPS", rules=(*rules, Rule(does="fixed-response"))),),
    )
    seen = account(
        services=tuple(deployed),
        balancers=(balancer,),
        health_paths={"catalog": "/catalog/healthz", "orders": "/orders/healthz"},
        names={host: end},
        sites=(Site(domain_name="d1.cloudfront.net", aliases=("shop.example",), bucket="pages", origin_path="/shop"),),
    )
    urls = ("https://shop.example", "https://shop.example/admin/", f"wss://{host}/live?token={{token}}")
    found = places(seen, urls)
    assert [place.key for place in found] == [f"{host}/catalog", f"{host}/orders", "shop.example", "shop.example/admin"]
    version = Seen(url=f"https://{host}/catalog", revisions={"/version": ("body:build ([0-9a-f]+)", OTHER[:7])})
    admin = Seen(
        url="https://shop.example/admin", page=True, ids=("admin",), addresses=(f"https://{host}/orders/mine",)
    )
    tags = {"catalog-v1.4.0": OTHER, "orders-v1.4.0": COMMIT}
    tables, text = text_of(
        Whole(
            account=seen,
            places=found,
            seen={f"{host}/catalog": version, "shop.example/admin": admin},
            heads=(Heads(repository="shop", branches={"main": COMMIT}, tags=tags),),
            remote="git@git.shop.example:{repository}.git",
        )
    )
    catalog, orders = tables["services"]["catalog"], tables["services"]["orders"]
    assert (catalog["url"], catalog["health_path"], catalog["version_path"]) == (
        *(f"https://{host}/catalog", "/healthz", "/version"),
    )
    assert (catalog["release_tag"], catalog["tag"]) == (r"catalog-v(\d+)\.(\d+)\.(\d+)", "{version}")
    assert (orders["url"], orders["tag"]) == (f"https://{host}/orders", "{commit:.7}")
    assert (orders["ecs"]["launch_type"], orders["ecs"]["network"]) == ("EC2", "bridge")
    assert tables["services"]["catalog-socket"]["url"] == f"wss://{host}/live?token={{token}}"
    assert "# where the token of its URL is, as in env:SOCKET_TOKEN" in text
    assert tables["frontends"]["pages"]["url"] == "https://shop.example"
    assert tables["frontends"]["admin"] == {"url": "https://shop.example/admin", "mount": "admin", "calls": ["orders"]}


def test_the_pages_and_the_api_behind_one_distribution_are_described_under_its_name() -> None:
    end, bucket = "lb.elb.amazonaws.com", "pages.s3.eu-central-1.amazonaws.com"
    origins = [("page", bucket, "/current"), ("ops", bucket, "/office"), ("api", end, "")]
    item = {
        "DomainName": "d1.cloudfront.net",
        "Aliases": {"Items": ["shop.example"]},
        "Origins": {"Items": [{"Id": i, "DomainName": d, "OriginPath": path} for i, d, path in origins]},
        "DefaultCacheBehavior": {"TargetOriginId": "page"},
        "CacheBehaviors": {
            "Items": [
                {"PathPattern": pattern, "TargetOriginId": target}
                for pattern, target in (("/ops/*", "ops"), ("/api/*", "api"), ("/assets/*", "page"), ("*.js", "ops"))
            ]
        },
    }
    service = Deployed(
        ecs=EcsService(name="shop-api", cluster="c", status="ACTIVE", every_group=("api",)),
        container=container("api", f"shop:{COMMIT}"),
    )
    worker = Deployed(
        ecs=EcsService(name="shop-mails", cluster="c", status="ACTIVE", every_group=()),
        container=container("mails", f"shop:{OTHER}"),
    )
    rules = (Rule(paths=("/api/*",), groups=("api",)), Rule(hosts=("live.shop.example",), groups=("live",)))
    listener = Listener(port=443, protocol="HTTPS", rules=rules)
    seen = account(
        services=(service, worker),
        balancers=(Balancer(name="shop", state="active", dns_name=end, listeners=(listener,)),),
        names={"live.shop.example": end},
        sites=tuple(sites_of(item)),
    )
    found = places(seen, ("https://shop.example", "https://shop.example/ops/"))
    pages = {p.key: Seen(url=p.url, page=True, revisions={META: (META, OTHER)}) for p in found if p.site}
    tags = {"api/2026.11.3": COMMIT, "ops-v7": OTHER, "other/1.0": OTHER, "api/2026.9.1": OTHER}
    heads = (Heads(repository="shop", branches={"main": "0" * 40}, tags=tags),)
    tables, text = text_of(Whole(account=seen, places=found, seen=pages, heads=heads))
    mails = tables["services"].pop("mails")
    assert (mails["ecs"]["container"], mails.get("url")) == ("mails", None)
    assert "# no load balancer sends it requests: a worker, unless it has a url" in text
    assert tables["services"]["api"]["url"] == "https://shop.example/api"
    forms = {name: part.get("release_tag") for name, part in {**tables["services"], **tables["frontends"]}.items()}
    assert forms == {"api": r"api/(\d+)\.(\d+)\.(\d+)", "live": None, "pages": None, "ops": r"ops-v(\d+)"}
    described = {name: (f["url"], f["bucket"], f["origin_path"]) for name, f in tables["frontends"].items()}
    assert described == {
        "pages": ("https://shop.example", "pages", "/current"),
        "ops": ("https://shop.example/ops/", "pages", "/office/ops"),
    }


def test_a_stage_of_three_that_asks_everybody_for_a_login_is_described() -> None:
    paths = ("/", "/health/", "/healthz", "/health/deep", "/version")
    seen = Seen(url="https://release.shop.example", statuses=dict.fromkeys(paths, 401))
    branches = {"develop": OTHER, "release": COMMIT, "production": OTHER}
    found = places(None, ("https://release.shop.example",))

    def described(branches: dict[str, str]) -> tuple[dict[str, Any], str]:
        heads = Heads(repository="shop", branches=branches)
        return text_of(Whole(places=found, seen={seen.host: seen}, heads=(heads,), remote="git@x:{repository}.git"))

    tables, text = described(branches)
    assert tables["git"]["branches"] == ["develop", "release", "production"]
    said = 'authorization = { basic = "..." }   # every path answered 401: write its login, and discover it again'
    assert said in text and "deep_health" not in text
