"""Pages that start well though a run holds their writes back, and can't reach other sites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.frontends import entry_script
from sandbox.site import required
from sandbox.variants import Sandbox, variant
from sandbox.variants.parts import api, invalidated


@contextmanager
def _entries_with(sandbox: Sandbox, more: str) -> Iterator[None]:
    """Add code at the end of every frontend's entry script."""
    s3 = sandbox.aws("s3")
    before = []
    for frontend in sandbox.environment.frontends.values():
        bucket = required(frontend.bucket)
        key = entry_script(s3, bucket)
        script = s3.get_object(Bucket=bucket, Key=key)
        body, how = script["Body"].read(), {name: script[name] for name in ("ContentType", "CacheControl")}
        before.append((bucket, key, body, how))
        s3.put_object(Bucket=bucket, Key=key, Body=body + more.encode(), **how)
    try:
        yield
    finally:
        for bucket, key, body, how in before:
            s3.put_object(Bucket=bucket, Key=key, Body=body, **how)


@variant("page-writes-as-it-starts")
def page_writes_as_it_starts(sandbox: Sandbox) -> Iterator[None]:
    """The pages send a POST and a beacon as they start, do not expect them to fail, and warn in the console."""
    url = f"{api(sandbox).url}/api/v1/visits/"
    more = f"""
navigator.sendBeacon("{url}", "start");
fetch("{url}", {{ method: "POST", body: "start" }}).then((answer) => console.log(answer.status));
console.warn("this build is older than a week");
console.error("no translation of 'login' in ko");
"""
    with _entries_with(sandbox, more):
        yield


@variant("page-with-analytics", tries=["cdn-api-base-correct", "cdn-csp-admits-own"])
def page_with_analytics(sandbox: Sandbox) -> Iterator[None]:
    """The pages load the script of another site, which does not answer, and use it."""
    more = """
const analytics = document.createElement("script");
analytics.src = "https://analytics.example.invalid/collect.js";
document.head.append(analytics);
new Promise((loaded, failed) => Object.assign(analytics, { onload: loaded, onerror: () => failed("no analytics") }));
"""
    with _entries_with(sandbox, more):
        yield


@variant("page-with-a-service-worker")
def page_with_a_service_worker(sandbox: Sandbox) -> Iterator[None]:
    """The pages register a service worker, which keeps the page and its script."""
    s3 = sandbox.aws("s3")
    buckets = [required(frontend.bucket) for frontend in sandbox.environment.frontends.values()]
    for bucket in buckets:
        kept = f'[{{"revision":null,"url":"{entry_script(s3, bucket)}"}},{{"revision":"1","url":"index.html"}}]'
        body = f"self.addEventListener('install', () => self.skipWaiting());\nconst kept = {kept};\n".encode()
        s3.put_object(Bucket=bucket, Key="sw.js", Body=body, ContentType="text/javascript", CacheControl="no-cache")
    with _entries_with(sandbox, 'navigator.serviceWorker?.register("/sw.js", { scope: "/" });\n'):
        yield
    for bucket in buckets:
        s3.delete_object(Bucket=bucket, Key="sw.js")


@variant(
    "page-of-other-sites-too",
    tries=["cdn-index-200", "cdn-index-cache-control", "cdn-spa-deep-link", "http-security-headers"],
)
def page_of_other_sites_too(sandbox: Sandbox) -> Iterator[None]:
    """The pages name fonts and a script of other sites, have more elements, and are asked for by max-age=0."""
    s3, before = sandbox.aws("s3"), []
    more = (
        '<link rel="preconnect" href="https://fonts.example.invalid" crossorigin>'
        '<link rel="stylesheet" href="https://fonts.example.invalid/css2?family=Inter">'
        '<script async src="https://pay.example.invalid/v3/"></script>'
    )
    for frontend in sandbox.environment.frontends.values():
        bucket = required(frontend.bucket)
        page = s3.get_object(Bucket=bucket, Key="index.html")
        body, how = page["Body"].read(), {"ContentType": page["ContentType"], "CacheControl": page["CacheControl"]}
        before.append((frontend, bucket, body, how))
        changed = body.replace(b"<title>", more.encode() + b"<title>").replace(b"<body>", b'<body id="body">')
        fresh = {"ContentType": "text/html", "CacheControl": "public, max-age=0, must-revalidate"}
        s3.put_object(Bucket=bucket, Key="index.html", Body=changed, **fresh)
        invalidated(sandbox, frontend)
    yield
    for frontend, bucket, body, how in before:
        s3.put_object(Bucket=bucket, Key="index.html", Body=body, **how)
        invalidated(sandbox, frontend)
