"""The dashboard in Chromium: when pages are painted, what moves then, ten thousand jobs, a million points.

Times are the browser's own, in milliseconds since the page was asked for; each page is opened several times.
"""

import shutil
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from rich.table import Table
from sqlalchemy import Engine, insert

from app.store import engine as engines
from app.store import ids
from app.store.engine import read, write
from app.store.models import Job
from benchmarks.figures import table
from benchmarks.metrics import POINTS, fill
from benchmarks.service import Service, service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROUNDS = 7
JOBS = 10_000
SETTLED_MS = 1_500
WATCH = """
window.moved = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.moved += entry.value;
}).observe({ type: "layout-shift", buffered: true });
const isDrawn = (canvas) => {
  const pixels = canvas.width && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return !!pixels && new Uint32Array(pixels.buffer).some(Boolean);
};
const look = () => {
  if (!window.listed && document.querySelector("#rows .row")) window.listed = performance.now();
  const isShown = document.querySelector("#readout b") && !document.querySelector("main[data-waits]");
  const canvases = [...document.querySelectorAll("#charts canvas")];
  if (!window.drawn && isShown && canvases.every(isDrawn)) window.drawn = performance.now();
  if (!window.listed && !window.drawn) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
FOUND = """() => {
  const resources = performance.getEntriesByType("resource");
  const metrics = resources.find((one) => one.name.includes("/metrics"));
  const pages = performance.getEntriesByType("navigation");
  return {
    painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
    listed: window.listed,
    asked: metrics?.requestStart,
    answered: metrics?.responseEnd,
    drawn: window.drawn,
    moved: window.moved,
    bytes: [...pages, ...resources].reduce((sum, one) => sum + one.encodedBodySize, 0),
  };
}"""


def run() -> Iterator[Table]:
    """On PostgreSQL, without a worker."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing = table("no browser is here", "", "")
        missing.add_row("looked for", ", ".join(BROWSERS))
        yield missing
        return
    with service("postgresql", worker=False) as running, sync_playwright() as playwright:
        engine = engines.create(running.database_url)
        job = running.submit(name="a million points")["id"]
        fill(engine, job)
        _submit_many(engine, job)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        pages = {"jobs, ten thousand": "/", "a job, a million points": f"/jobs/{job}", "new job": "/new"}
        pages |= {"ensembles": "/ensembles", "data set": "/datasets/mnist5k", "workers": "/workers"}
        opened = {name: _open(browser, running, path) for name, path in pages.items()}
        yield _paints(opened)
        yield _data(opened)
        browser.close()
        engine.dispose()


def _submit_many(engine: Engine, job_id: str) -> None:
    with read(engine) as session:
        one = session.get_one(Job, job_id)
        row = {column.name: getattr(one, column.key) for column in Job.__table__.columns}
    with write(engine) as session:
        session.execute(insert(Job), [{**row, "id": ids.new("job"), "name": f"many {n}"} for n in range(JOBS)])


def _open(browser: Browser, running: Service, path: str) -> list[Mapping[str, Any]]:
    """What the browser says of a page, each time it is opened; the first time, which fills its cache, is left out."""
    context = browser.new_context(base_url=str(running.http.base_url), viewport={"width": 1280, "height": 900})
    context.add_init_script(WATCH)
    found = []
    for _ in range(ROUNDS + 1):
        page = context.new_page()
        page.goto(path)
        page.wait_for_timeout(SETTLED_MS)
        found.append(page.evaluate(FOUND))
        page.close()
    context.close()
    return found[1:]


def _paints(opened: Mapping[str, list[Mapping[str, Any]]]) -> Table:
    found = table("pages, opened again", "", "first paint, ms", "layout shift", "compressed kB")
    for name, times in opened.items():
        painted, moved = (median(one[key] for one in times) for key in ("painted", "moved"))
        size = max(one["bytes"] for one in times) / 1000
        found.add_row(name, f"{painted:.0f}", f"{moved:.3f}", f"{size:.0f}")
    return found


def _data(opened: Mapping[str, list[Mapping[str, Any]]]) -> Table:
    lists, curves = opened["jobs, ten thousand"], opened["a job, a million points"]
    found = table(f"{JOBS:,} jobs and {POINTS:,} points", "", "ms")
    found.add_row(
        "first lines of the list, since the page was asked for", f"{median(one['listed'] for one in lists):.0f}"
    )
    answered = median(one["answered"] - one["asked"] for one in curves)
    found.add_row("answer with the curve's points, since it was asked for", f"{answered:.0f}")
    found.add_row(
        "the curve drawn, since that answer", f"{median(one['drawn'] - one['answered'] for one in curves):.0f}"
    )
    return found
