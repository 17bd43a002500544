"""Faults of the answers of the API, the redirect and the distributions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.cdn import LOOSE_POLICY
from sandbox.faults import Sandbox, fault
from sandbox.faults.common import changed_distribution, relay_mode


@contextmanager
def _broken(sandbox: Sandbox, name: str) -> Iterator[None]:
    """Switch on a mistake of the API (`sandbox.api.breakage`)."""
    file = sandbox.state_dir / "api-breakage"
    names = file.read_text(encoding="utf-8").split() if file.exists() else []
    file.write_text("\n".join([*names, name]), encoding="utf-8")
    try:
        yield
    finally:
        names = [other for other in file.read_text(encoding="utf-8").split() if other != name]
        file.write_text("\n".join(names), encoding="utf-8")


@fault("api-health-fails", turns_red=["api-health", "api-deep-health"])
def api_health_fails(sandbox: Sandbox) -> Iterator[None]:
    """The API's health endpoints raise an exception and answer 500."""
    with _broken(sandbox, "health-fails"):
        yield


@fault("api-status-fails", turns_red=["api-endpoints-contract"])
def api_status_fails(sandbox: Sandbox) -> Iterator[None]:
    """An endpoint of the contract answers 500."""
    with _broken(sandbox, "status-fails"):
        yield


@fault("api-loses-a-key", turns_red=["api-endpoints-contract"])
def api_loses_a_key(sandbox: Sandbox) -> Iterator[None]:
    """An endpoint of the contract answers 200 without one of its keys."""
    with _broken(sandbox, "notices-lose-a-key"):
        yield


@fault("api-open-to-anybody", turns_red=["api-auth-enforced"])
def api_open_to_anybody(sandbox: Sandbox) -> Iterator[None]:
    """The endpoint that needs a login answers without one."""
    with _broken(sandbox, "me-is-open"):
        yield


@fault("api-debug-on", turns_red=["http-debug-off"])
def api_debug_on(sandbox: Sandbox) -> Iterator[None]:
    """DEBUG is on: an unknown path shows Django's debug page."""
    with _broken(sandbox, "debug-is-on"):
        yield


@fault("api-without-hsts", turns_red=["http-hsts"])
def api_without_hsts(sandbox: Sandbox) -> Iterator[None]:
    """The API sends no Strict-Transport-Security."""
    with _broken(sandbox, "hsts-is-missing"):
        yield


@fault("cookies-insecure", turns_red=["http-cookie-flags"])
def cookies_insecure(sandbox: Sandbox) -> Iterator[None]:
    """The API's cookies are sent over plain HTTP too, and scripts may read them."""
    with _broken(sandbox, "cookies-are-insecure"):
        yield


@fault("cookies-cross-sites", turns_red=["http-cookie-flags"])
def cookies_cross_sites(sandbox: Sandbox) -> Iterator[None]:
    """Browsers send the API's cookies with requests from pages of other sites."""
    with _broken(sandbox, "cookies-cross-sites"):
        yield


@fault("cookies-reach-production", turns_red=["http-cookie-flags"])
def cookies_reach_production(sandbox: Sandbox) -> Iterator[None]:
    """The API's cookies are valid for the whole zone, production's hosts included."""
    with _broken(sandbox, "cookies-reach-production"):
        yield


@fault("api-flaky", turns_red=["http-no-5xx-burst"])
def api_flaky(sandbox: Sandbox) -> Iterator[None]:
    """Every fifth answer of the API's health endpoint is a 500."""
    with _broken(sandbox, "health-is-flaky"):
        yield


@fault("cors-forgets-the-frontends", turns_red=["cors-preflight-allowed"])
def cors_forgets_the_frontends(sandbox: Sandbox) -> Iterator[None]:
    """The API's CORS settings no longer name the frontends."""
    with _broken(sandbox, "cors-forgets-the-frontends"):
        yield


@fault("cors-reflects-any-origin", turns_red=["cors-foreign-denied"])
def cors_reflects_any_origin(sandbox: Sandbox) -> Iterator[None]:
    """The API allows every Origin, with credentials."""
    with _broken(sandbox, "cors-reflects-any-origin"):
        yield


@fault("cors-matches-a-part", turns_red=["cors-foreign-denied"])
def cors_matches_a_part(sandbox: Sandbox) -> Iterator[None]:
    """The API allows every Origin that begins with a frontend's origin."""
    with _broken(sandbox, "cors-matches-a-part"):
        yield


@fault("cors-allows-null", turns_red=["cors-foreign-denied"])
def cors_allows_null(sandbox: Sandbox) -> Iterator[None]:
    """The API allows the Origin `null`, which the sandboxed page of any site has."""
    with _broken(sandbox, "cors-allows-null"):
        yield


@fault("api-old-revision", turns_red=["api-version"])
def api_old_revision(sandbox: Sandbox) -> Iterator[None]:
    """Every API task runs the previous release."""
    api = sandbox.environment.services["api"]
    sandbox.run(sandbox.api.deploy(sandbox.site.before(api.repository)))
    yield
    sandbox.run(sandbox.api.deploy(sandbox.site.revision(sandbox.environment, api.repository)))


@fault("api-mixed-revisions", turns_red=["api-version"])
def api_mixed_revisions(sandbox: Sandbox) -> Iterator[None]:
    """An old API task still answers every second connection, beside the new task."""
    api = sandbox.environment.services["api"]
    task = sandbox.run(sandbox.api.add(sandbox.site.before(api.repository)))
    yield
    sandbox.run(sandbox.api.remove(task))


@fault("http-not-redirected", turns_red=["http-redirects-to-https"])
def http_not_redirected(sandbox: Sandbox) -> Iterator[None]:
    """Port 80 leads to the application instead of to a redirect."""
    relay = sandbox.relay("http")
    before, relay.upstreams = relay.upstreams, [task.port for task in sandbox.api.running]
    yield
    relay.upstreams = before


@fault("cdn-without-security-headers", turns_red=["http-security-headers", "http-hsts"])
def cdn_without_security_headers(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution no longer adds security headers."""
    with changed_distribution(
        sandbox, lambda config: config["DefaultCacheBehavior"].update(ResponseHeadersPolicyId="")
    ):
        yield


@fault("cdn-loose-security-headers", turns_red=["http-security-headers", "http-hsts"])
def cdn_loose_security_headers(sandbox: Sandbox) -> Iterator[None]:
    """The user frontend's distribution adds every security header, with values that give no protection."""
    loose = {"ResponseHeadersPolicyId": LOOSE_POLICY}
    with changed_distribution(sandbox, lambda config: config["DefaultCacheBehavior"].update(loose)):
        yield


@fault("redirect-refuses", turns_red=["http-redirects-to-https"])
def redirect_refuses(sandbox: Sandbox) -> Iterator[None]:
    """No server listens on port 80, so a host name typed without https:// does not load."""
    with relay_mode(sandbox, "refuse", "http"):
        yield


@fault("cors-without-credentials", turns_red=["cors-answer-readable"])
def cors_without_credentials(sandbox: Sandbox) -> Iterator[None]:
    """The API does not allow credentials: browsers drop every answer to the frontends, which send cookies."""
    with _broken(sandbox, "cors-without-credentials"):
        yield


@fault("session-answer-public", turns_red=["http-private-not-cached"])
def session_answer_public(sandbox: Sandbox) -> Iterator[None]:
    """The answer that sets the session's cookies may be kept by shared caches."""
    with _broken(sandbox, "session-is-public"):
        yield
