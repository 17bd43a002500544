"""Environment variables that would change where a run looks, whom a run trusts, or which code takes part.

`environments.toml` says where to look and whom to trust. A run removes the variables that would change this for its
own clients, and the verdict names the variables. Other variables may be needed (a proxy, a CA of the company for AWS
and git, a module path), so they stay in force, and the verdict names them too. Source of truth: libpq "Environment
Variables"; OpenSSL `SSL_CTX_set_default_verify_paths`; Python `ssl.SSLContext.keylog_filename`; `resolver(5)`;
AWS SDKs and Tools Reference Guide.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, MutableMapping

from gli.observe.edge.browser_process import BROWSER_VARIABLE

_IGNORED = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
    "SSLKEYLOGFILE",  # the secrets of each TLS session would be written to a file
    *("HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS"),  # where the C library looks up a host name
)
_IN_FORCE = frozenset(
    {
        *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"),
        *("AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_DATA_PATH"),
        *("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"),
        *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "XDG_CONFIG_HOME", "GIT_EXEC_PATH", "GIT_PROXY_COMMAND"),
        *("GIT_SSH", "GIT_SSH_COMMAND"),
        *("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONUSERBASE"),
        *("PYTHONPYCACHEPREFIX", "PYTHONWARNINGS"),  # bytecode from elsewhere; modules that hold a category
        *("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "KRB5_CONFIG", "GCONV_PATH", "GLIBC_TUNABLES"),
    }
)
_IN_FORCE_PREFIXES = ("AWS_ENDPOINT_URL", "DYLD_", "FAKETIME", "GIT_SSL_", "LD_")


def ignore(variables: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """Removes the variables that a run ignores; returns their names, sorted."""
    found = tuple(sorted(n for n in variables if n in _IGNORED or _is_one_of_libpq(n)))
    for name in found:
        del variables[name]
    return found


def in_force(also: Iterable[str] = (), variables: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """The names of the variables that may change a run and that the run does not ignore, sorted. `also` names those
    that move the overlay of the environment.
    """
    return tuple(sorted({*_stay(variables), *(name for name in also if name in variables)}))


def _is_one_of_libpq(name: str) -> bool:
    return name.startswith("PG") and name.isalpha() and name.isupper()


def _stay(variables: MutableMapping[str, str]) -> Iterator[str]:
    for name in variables:
        chooses = name == BROWSER_VARIABLE and variables[name] != ""  # where it is empty, the check says so
        if chooses or name.upper() in _IN_FORCE or name.startswith(_IN_FORCE_PREFIXES):
            yield name
