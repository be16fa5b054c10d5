"""The built site, served from a subfolder as on GitHub Pages, and Chromium."""

import functools
import http.server
import shutil
import threading
from pathlib import Path
from urllib.parse import urlparse

from shared.recipes import ROOT

import pytest
from playwright.sync_api import sync_playwright

SITE = ROOT / "site"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


def find_chromium() -> str:
    """Return the browser's path under its name on Debian, elsewhere, or GitHub."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.fail("no Chromium; on Debian: make system")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the site under /cookbook/, and its 404.html for what isn't there."""

    def translate_path(self, path):
        return super().translate_path(path.removeprefix("/cookbook"))

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def base():
    if not (SITE / "index.html").is_file():
        pytest.fail("site/ is missing: make docs")
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/cookbook/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def window(browser, base):
    """A page of the browser that notes what goes wrong in it, in `wrong`."""
    with browser.new_context(
        permissions=["clipboard-read", "clipboard-write"]
    ) as context:
        tab = context.new_page()
        tab.wrong = []
        host = urlparse(base).netloc

        def asked(request):
            if request.url.startswith("http") and urlparse(request.url).netloc != host:
                tab.wrong.append(f"another host: {request.url}")

        def answered(response):
            if response.status >= 400:
                tab.wrong.append(f"{response.status} {response.url}")

        tab.on("request", asked)
        tab.on("response", answered)
        tab.on("pageerror", lambda error: tab.wrong.append(f"error: {error}"))
        tab.on(
            "console",
            lambda m: m.type == "error" and tab.wrong.append(f"console: {m.text}"),
        )
        yield tab


@pytest.fixture
def tab(window):
    """The page, blank: what is cached stays, what went wrong before is forgotten."""
    window.goto("about:blank")
    window.wrong.clear()
    return window


def pages() -> list[str]:
    return sorted(
        path.parent.relative_to(SITE).as_posix().removeprefix(".") + "/"
        for path in Path(SITE).rglob("index.html")
    )
