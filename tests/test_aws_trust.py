"""Which CAs verify a part of the target: the system's, and additional ones for this part."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from conftest import ROOT
from gli.cli.group import main
from gli.config import environments, rds_roots
from gli.config.environments import Environment
from gli.config.parts import Tls
from gli.observe.engine.dial import Dial, system_roots


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    shutil.copy(ROOT / "environments.toml", root)
    monkeypatch.chdir(root)
    return root


def dial(**tls: str) -> Dial:
    return Dial(Environment(name="own", branch="main", tls=Tls(**tls)))


def subjects(context: ssl.SSLContext) -> int:
    return len(context.get_ca_certs())


def test_a_ca_of_the_data_tier_is_trusted_beside_the_systems_roots(authority: Path) -> None:
    own = dial(database_ca_file=str(authority))
    system = ssl.create_default_context(cafile=system_roots())
    assert subjects(own.trust_of("database")) == subjects(system) + 1
    joined = Path(own.roots_of("database")).read_text()
    assert authority.read_text().strip() in joined
    assert Path(system_roots()).read_text().strip() in joined
    assert own.roots_of("cache") == system_roots(), "another part has none of its own"


def test_the_ca_of_the_web_is_trusted_for_the_web_only(authority: Path) -> None:
    own = dial(ca_file=str(authority))
    assert subjects(own.trust) == 1
    assert own.roots_of("database") == system_roots()
    assert subjects(own.trust_of("broker")) == subjects(ssl.create_default_context(cafile=system_roots()))


def test_the_roots_of_rds_are_fetched_once_and_then_trusted_for_the_database(project: Path, authority: Path) -> None:
    assert environments.load(project, "stg").tls.database_ca_file is None
    done = CliRunner().invoke(main, ["rds-roots", "--from", str(authority)])
    assert done.exit_code == 0, done.output
    kept = (project / rds_roots.FILE).read_text()
    assert kept.startswith(f"# {authority}\n# fetched 20")
    assert "1 CAs, sha256" in kept
    tls = environments.load(project, "stg").tls
    assert tls.database_ca_file == str(project / rds_roots.FILE)
    assert subjects(ssl.create_default_context(cafile=tls.database_ca_file)) == 1
    assert (tls.cache_ca_file, tls.broker_ca_file) == (None, None)


@pytest.mark.parametrize("content", [b"<html>moved</html>", None])
def test_a_file_that_is_not_a_ca_bundle_is_not_kept(project: Path, tmp_path: Path, content: bytes | None) -> None:
    place = tmp_path / "leaf.pem"
    leaf = trustme.CA().issue_cert("database.example.com").cert_chain_pems[0].bytes()
    place.write_bytes(leaf if content is None else content)
    done = CliRunner().invoke(main, ["rds-roots", "--from", str(place)])
    assert done.exit_code == 2
    assert "nothing was written" in done.output
    assert not (project / rds_roots.FILE).exists()


def test_a_bundle_that_cannot_be_fetched_is_one_sentence(project: Path) -> None:
    done = CliRunner().invoke(main, ["rds-roots", "--from", "http://127.0.0.1:9/bundle.pem"])
    assert done.exit_code == 2
    assert "can't be read" in done.output
    assert "fetch it elsewhere, and name the file with --from" in done.output


@pytest.mark.parametrize(
    ("host", "of_rds"),
    [
        ("db.c9akciq32.ap-northeast-2.rds.amazonaws.com", True),
        ("db.c9akciq32.rds.cn-north-1.amazonaws.com.cn", True),
        ("db.internal.example.com", False),
    ],
)
def test_rds_servers_are_recognised_by_their_names(host: str, of_rds: bool) -> None:
    assert bool(rds_roots.HOST.fullmatch(host)) is of_rds
