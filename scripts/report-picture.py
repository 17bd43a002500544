"""Makes docs/report.png: the report of a NO-GO on the sandbox, as a browser shows it.

    make docs/report.png

Starts a sandbox, breaks one thing, runs the checks, and takes a screenshot with Debian's Chromium.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from gli.observe.edge.browser_process import of_the_system

ROOT = Path(__file__).resolve().parent.parent
FAULT = "database-closed-to-the-api"
SIZE = {"width": 1280, "height": 960}


def main() -> None:
    """Write the picture; `CalledProcessError` where the sandbox does not start."""
    name = f"picture-{os.getpid()}"
    gli = [sys.executable, "-m", "sandbox"]
    with tempfile.TemporaryDirectory() as reports:
        environment = os.environ | {"GLI_SANDBOX": name}
        subprocess.run([*gli, "up", "--detach"], cwd=ROOT, env=environment, check=True)
        try:
            subprocess.run([*gli, "break", FAULT], cwd=ROOT, env=environment, check=True)
            run = [sys.executable, "-m", "pytest", "--env=sandbox", "--lang=en", f"--report-dir={reports}"]
            subprocess.run(run, cwd=ROOT, env=environment, check=False)
        finally:
            subprocess.run([*gli, "down"], cwd=ROOT, env=environment, check=True)
        picture(Path(reports) / "sandbox" / "latest" / "report.html", ROOT / "docs" / "report.png")


def picture(page: Path, target: Path) -> None:
    """A screenshot of the first screen of a page."""
    chromium = of_the_system()
    if chromium is None:
        sys.exit("Chromium is not installed: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport=SIZE, device_scale_factor=1)
        shown.goto(page.resolve().as_uri())
        shown.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
