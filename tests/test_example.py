"""The example's shop of other people's software is GO, and each breakage is NO-GO with its own root cause."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest

from conftest import ROOT, clean_environment, latest

PYTHON = ROOT / ".venv/example/bin/python"
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(not PYTHON.exists(), reason="`make .venv/example.stamp` installs what the shop runs on"),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]
ENVIRONMENT = clean_environment() | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an open shop."""
    folder = tmp_path_factory.mktemp("example") / "shop"
    shutil.copytree(ROOT / "examples/shop", folder, ignore=shutil.ignore_patterns(".shop", "reports", "tests_*"))
    said = subprocess.run([PYTHON, "-c", "from gli.cli.entry import main; main()", "init", "--update"], cwd=folder,
                          env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert said.returncode == 0, said.stderr
    process = subprocess.Popen([PYTHON, "shop.py"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "the shop is open" in process.stdout.readline()
    yield folder
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert not (folder / ".shop").exists()


def verified(shop: Path, name: str) -> tuple[str, set[str]]:
    """The verdict, and the checks that are root causes."""
    ran = subprocess.run([PYTHON, "-m", "pytest", f"--env={name}"], cwd=shop, env=ENVIRONMENT, capture_output=True,
                         text=True, timeout=300, check=False)  # fmt: skip
    verdict, _ = latest(shop / "reports")
    assert verdict is not None, ran.stdout
    return verdict["verdict"], {cause["check"] for cause in verdict["root_causes"]}


def gli(folder: Path, *arguments: str) -> None:
    """A command of the suite's own wheel."""
    command = [PYTHON, "-c", "from gli.cli.entry import main; main()", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["staging", "production"])
def test_a_healthy_shop_is_go(shop: Path, name: str) -> None:
    assert verified(shop, name) == ("GO", set())


MOTO = ("db-tls-in-use", "db-pending-changes", "db-ca-valid", "suite-role-readonly")
"""What is true of real AWS only, as the example's own tables say with reasons."""


def test_the_discovered_shop_is_go_after_three_edits(shop: Path, tmp_path: Path) -> None:
    gli(tmp_path, "init")
    file = tmp_path / "environments.toml"
    file.write_text(f'[production]\noverlay = "{shop}/.shop/production.toml"\n')
    where = ("--region=eu-central-1", "--match=shop*", "--match=/shop/*")
    remote = ("--remote=git@git.shop.example:{repository}.git", "--repository=shop")
    gli(tmp_path, "discover", "--env=production", *where, *remote, "--to=found.toml")
    found = (tmp_path / "found.toml").read_text()
    file.write_text(found)
    verdict, causes = verified(tmp_path, "production")
    assert (verdict, causes - {*MOTO}) == ("NO-GO", {"secret-fields"})
    edited = found.replace("[production]\n", '[production]\nvantage = "vpc"\n', 1).replace(
        "# fields = ", "fields = ", 1
    )
    for check in MOTO:
        edited += f'[[production.not_applicable]]\ncheck = "{check}"\nreason = "moto"\nowner = "the example"\n'
    file.write_text(edited)
    assert verified(tmp_path, "production") == ("GO", set())


def test_the_discovered_staging_without_an_account_is_go_without_edits(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    file.write_text(f'[staging]\noverlay = "{shop}/.shop/staging.toml"\n')
    socket = "wss://live.staging.shop.example/socket.io/?EIO=4&transport=websocket"
    urls = ("--url=https://staging.shop.example", f"--url={socket}")
    remote = ("--remote=git@git.shop.example:{repository}.git", "--repository=shop")
    gli(tmp_path, "discover", "--env=staging", *urls, *remote, "--to=found.toml")
    file.write_text((tmp_path / "found.toml").read_text())
    gli(tmp_path, "init")
    assert verified(tmp_path, "staging") == ("GO", set())


@contextmanager
def storage_is_gone(shop: Path) -> Iterator[None]:
    media = shop / ".shop/production-media"
    shutil.rmtree(media)
    media.touch()
    yield
    media.unlink()
    media.mkdir()


@contextmanager
def password_is_another(shop: Path) -> Iterator[None]:
    login = (shop / ".shop/postgres.url").read_text()
    with psycopg.connect(login, autocommit=True) as connection:
        (own,) = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'shop'").fetchone() or ("",)
        connection.execute("ALTER ROLE shop PASSWORD 'other'")
        yield
        connection.execute(f"ALTER ROLE shop PASSWORD '{own}'")


@contextmanager
def socket_server_is_down(shop: Path) -> Iterator[None]:
    os.kill(int((shop / ".shop/production-live.pid").read_text()), signal.SIGTERM)
    yield


@pytest.mark.parametrize(
    ("breaks", "root"),
    [
        (storage_is_gone, "api-deep-health"),
        (password_is_another, "db-credentials-valid"),
        (socket_server_is_down, "ws-handshake"),
    ],
)
def test_each_breakage_is_the_root_cause(
    shop: Path, breaks: Callable[[Path], AbstractContextManager[None]], root: str
) -> None:
    with breaks(shop):
        assert verified(shop, "production") == ("NO-GO", {root})
