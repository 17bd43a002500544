"""Mistakes in an environment's description: the project's own file has none, and each kind of mistake is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from gli.config import environments
from gli.config.environment_consistency import objections
from gli.config.environments import Environment


@pytest.mark.parametrize("name", environments.names(ROOT))
def test_the_projects_own_environments_are_consistent(name: str) -> None:
    assert objections(environments.load(ROOT, name, overlay={})) == ()


@pytest.mark.parametrize(
    ("name", "change", "objection"),
    [
        ("stg", {"cache": {"secret": "prod/gli/redis"}}, "cache.secret names prod/gli/redis, which is prod's"),
        (
            "stg",
            {"services": {"api": {"url": "https://api.glibiz.com"}}},
            "services.api.url names api.glibiz.com, which is prod's",
        ),
        (
            "stg",
            {"connect_to": {"glibiz.com:443": "127.0.0.1:9"}},
            "connect_to names glibiz.com, which is prod's",
        ),
        ("stg", {"branch": "main"}, "branch = 'main' is prod's branch too"),
        ("stg", {"production": True}, "production = true here and in prod"),
        ("stg", {"dns": {"zone": "example.com"}}, "stg.glibiz.com is not in the zone example.com"),
        (
            "prod",
            {"frontends": {"admin": {"bucket": "prod-gli-user-frontend"}}},
            "two parts have the bucket prod-gli-user-frontend",
        ),
        (
            "prod",
            {"database": {"instance": "stg-gli-database"}},
            "database.instance names stg-gli-database, which is stg's",
        ),
    ],
)
def test_a_mistake_is_reported(name: str, change: dict[str, Any], objection: str) -> None:
    assert objection in objections(environments.load(ROOT, name, overlay=change))


SHOP = """
[[repositories]]
name = "shop"
[staging]
branch = "staging"
counterpart = "production"
[staging.git]
remote = "git@example.com:shop/{repository}.git"
[staging.tls]
ca_file = "shop/ca.pem"
[staging.services.web]
url = "https://staging.shop.example"
repository = "shop"
image = "shop"
[staging.frontends.page]
url = "https://staging.shop.example/"
[staging.cache]
secret = "SECRET"
[production]
extends = "staging"
branch = "production"
counterpart = "staging"
production = true
[production.services.web]
url = "https://shop.example"
[production.frontends.page]
url = "https://shop.example"
[production.load_balancer]
name = "shop"
[production.cache]
secret = "ssm:/shop/production"
"""


@pytest.mark.parametrize(("folder", "twice"), [("/admin", False), ("", True)])
def test_two_pages_may_share_a_bucket_but_not_a_folder_of_it(folder: str, twice: bool) -> None:
    page = {"url": "https://own.example", "bucket": "pages"}
    pages = {"shop": page, "admin": {**page, "url": "https://own.example/admin", "origin_path": folder}}
    own = Environment.model_validate({"name": "own", "branch": "main", "frontends": pages})
    assert ("two parts have the bucket pages" in objections(own)) is twice
    assert {f.origin_header for f in own.frontends.values()} == {"https://own.example"}


def test_two_environments_of_one_branch_differ_by_the_tags_that_they_run() -> None:
    assert objections(environments.load(ROOT, "stg", overlay={"branch": "main", "release_tag": r"v(\d+)"})) == ()


def test_short_names_and_one_origin_for_page_and_api_are_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / environments.FILE
    file.write_text(SHOP.replace("SECRET", "file:shop/staging.env"))
    assert [objections(environments.load(tmp_path, name)) for name in ("staging", "production")] == [(), ()]
    file.write_text(SHOP.replace("SECRET", "ssm:/shop/production"))
    wrong = ("cache.secret names ssm:/shop/production, which is production's",)
    assert objections(environments.load(tmp_path, "staging")) == wrong
    file.write_text(SHOP.replace("SECRET", "env:X").replace('image = "shop"', 'log_group = "shop"'))
    assert objections(environments.load(tmp_path, "staging")) == (
        "services.web.log_group names shop, which is production's",
    )


def test_a_way_that_extends_brought_is_no_mistake(tmp_path: Path) -> None:
    """Production extends staging: it has staging's addresses to connect to as well, and never asks for them."""
    way = '[staging.connect_to]\n"staging.shop.example:443" = "127.0.0.1:443"\n'
    (tmp_path / environments.FILE).write_text(
        SHOP.replace("ssm:/shop/production", "env:Y").replace("SECRET", "env:X") + way
    )
    assert objections(environments.load(tmp_path, "production")) == ()


def test_a_shared_name_belongs_to_both_environments() -> None:
    balancer = {"load_balancer": {"name": "prod-gli-alb"}}
    assert objections(environments.load(ROOT, "stg", overlay=balancer)) == (
        "load_balancer.name names prod-gli-alb, which is prod's",
    )
    assert objections(environments.load(ROOT, "stg", overlay={**balancer, "shared": ["prod-gli-alb"]})) == ()
