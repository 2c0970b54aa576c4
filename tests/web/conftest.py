"""The dashboard in a real browser, beside a running `annealer up`."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, sync_playwright
from sqlalchemy import Engine

from app.embedded import free_port
from app.settings import Settings
from app.store import engine as engines
from app.store import keys
from app.store.engine import write
from app.store.scopes import Scope
from tests.api.conftest import served
from tests.servers import Process, Template, Valkey, await_true
from tests.specs import document

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = (
    "no browser is here: install Chromium (Debian and Ubuntu: apt-get install chromium), or have Playwright fetch one"
    " (.venv/bin/playwright install chromium), or name one in ANNEALER_TEST_BROWSER"
)
BROWSER = {"Accept": "text/html,application/xhtml+xml", "Accept-Encoding": "gzip"}

Place = tuple[float, float]
Serve = Callable[[Literal["required", "off"]], tuple[httpx.Client, Engine]]


class Up(Process):
    """`annealer up` in a folder, which can be ended and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        code = "from app.cli import main; main()"
        command = [sys.executable, "-c", code, "up", "--data", str(folder / "data"), "--port", str(port)]
        self._command = [*command, "--threads", "1"]
        self.start()

    def start(self) -> None:
        """Start it and wait until it can serve."""
        log = self._folder / "up.log"
        log.unlink(missing_ok=True)
        super().__init__(self._command, log)
        await_true(lambda: "is ready at" in self.log.read_text(), 60)


def new_key(engine: Engine, owner: str = "ada", scope: Scope = Scope.SUBMIT) -> tuple[str, str]:
    """A key's id and text."""
    with write(engine) as session:
        key, text = keys.create(session, name="a key", owner=owner, scope=scope)
        return key.id, text


@pytest.fixture(scope="module")
def serve(
    migrated: Callable[[str], Template], valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """Starts a server, with keys or without, and a browser's session with it."""
    opened = ExitStack()

    def start(with_keys: Literal["required", "off"]) -> tuple[httpx.Client, Engine]:
        url = opened.enter_context(migrated("sqlite").copy(tmp_path_factory.mktemp("pages")))
        if with_keys == "required":
            first = engines.create(url)
            new_key(first)
            first.dispose()
        settings = Settings(database_url=url, broker_url=valkey.url, keys=with_keys)
        address, engine = opened.enter_context(served(settings))
        return opened.enter_context(httpx.Client(base_url=address, timeout=20, headers=BROWSER)), engine

    with opened:
        yield start


@pytest.fixture(scope="module")
def open_door(serve: Serve) -> tuple[httpx.Client, Engine]:
    """A server that asks for no keys."""
    return serve("off")


@pytest.fixture(scope="module")
def closed_door(serve: Serve) -> tuple[httpx.Client, Engine]:
    """A server that asks for keys."""
    return serve("required")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running service."""
    with Up(tmp_path_factory.mktemp("web")) as running:
        yield running


@dataclass
class Service:
    """The service as a script uses it."""

    url: str
    http: httpx.Client

    def submit(self, **changes: Any) -> str:
        """Queue a job; its id."""
        answer = self.http.post("/v1/jobs", json=document(**changes))
        assert answer.is_success, answer.text
        return str(answer.json()["id"])

    def status(self, job_id: str) -> str:
        """What a job is now."""
        return str(self.http.get(f"/v1/jobs/{job_id}").json()["status"])

    def finish(self, job_id: str) -> None:
        """Wait until a job has succeeded."""
        await_true(lambda: self.status(job_id) in ("succeeded", "failed", "cancelled"), 60)
        assert self.status(job_id) == "succeeded"

    def finished(self, **changes: Any) -> str:
        """A job that has succeeded; its id."""
        job_id = self.submit(**changes)
        self.finish(job_id)
        return job_id

    def combine(self, job_id: str) -> str:
        """Make an ensemble of a job's snapshots and wait until it is scored; its id."""
        wish = {"name": "combined", "members": {"kind": "jobs", "ids": [job_id]}}
        answer = self.http.post("/v1/ensembles", json=wish).raise_for_status().json()
        self.finish(answer["job_id"])
        return str(answer["id"])

    def clear(self) -> None:
        """Remove all that is there."""
        for ensemble in self._items("/v1/ensembles"):
            if ensemble["kind"] == "combined":
                self.http.post(f"/v1/jobs/{ensemble['job_id']}/cancel")
                self._delete(f"/v1/ensembles/{ensemble['id']}")
        jobs = self._items("/v1/jobs")
        for job in jobs:
            self.http.post(f"/v1/jobs/{job['id']}/cancel")
        for job in jobs:
            self._delete(f"/v1/jobs/{job['id']}")

    def _items(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.http.get(path, params={"limit": 200}).json()["items"]
        return items

    def _delete(self, path: str) -> None:
        await_true(lambda: self.http.delete(path).status_code in (204, 404), 30)


@pytest.fixture
def service(up: Up) -> Iterator[Service]:
    """The service; its jobs and ensembles are gone afterwards."""
    with httpx.Client(base_url=up.url, timeout=20) as http:
        service = Service(up.url, http)
        yield service
        service.clear()


def executable(playwright: Playwright) -> str | None:
    """Where a browser is, if there is one."""
    named = os.environ.get("ANNEALER_TEST_BROWSER")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    own = playwright.chromium.executable_path
    return named or found or (own if Path(own).exists() else None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium; tests that need one are skipped, with how to get it, where there is none."""
    with sync_playwright() as playwright:
        path = executable(playwright)
        if path is None:
            pytest.skip(NO_BROWSER)
        # As root, which a container's tests are, Chromium's own sandbox does not start.
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


def saved(card: Locator, kind: str) -> bytes:
    """The file that a card's menu saves."""
    card.locator(".menu summary").click()
    with card.page.expect_download() as download:
        card.locator(".menu button", has_text=kind).click()
    card.locator(".menu summary").click()
    return Path(download.value.path()).read_bytes()


def stroke(page: Page, *places: Place) -> None:
    """Draw through places of the pad, given as shares of its side."""
    box = page.locator(".pad").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


@dataclass
class Tab:
    """A page, and all that its console complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """What axe finds against WCAG 2.2 AA."""
        # Evaluated by the debugger, and so the page's policy, which forbids it, stays as it is.
        self.page.evaluate(AXE.read_text())
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = self.page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)["violations"]
        return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


Open = Callable[..., Tab]


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Open]:
    """Opens pages; at the end of a test none of them may have complained."""
    tabs: list[Tab] = []

    def open(url: str, **options: Any) -> Tab:
        settings = {"viewport": {"width": 1280, "height": 900}, **options}
        tab = Tab(browser.new_context(**settings).new_page())
        tab.page.set_default_timeout(15_000)
        tab.page.on("console", lambda said: said.type in ("error", "warning") and tab.complaints.append(said.text))
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.goto(url)
        tabs.append(tab)
        return tab

    yield open
    complaints = [complaint for tab in tabs for complaint in tab.complaints]
    for tab in tabs:
        tab.page.context.close()
    assert complaints == []
