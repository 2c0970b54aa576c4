"""`make screenshots`: the pictures of docs/dashboard.md, of a service that has really trained what they show."""

import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import yaml
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.servers import await_true
from tests.web.conftest import NO_BROWSER, Place, Up, executable, stroke

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "dashboard"
JOBS = (
    ("snapshot-ensemble", "ada", {"study": "snapshots"}),
    ("activation-statistics", "grace", {}),
    ("swa", "grace", {"study": "averages"}),
    ("lenet", "ada", {}),
    ("adamw-one-cycle", "grace", {}),
)
SECONDS = 600
THREE = (
    (0.3, 0.2),
    (0.5, 0.12),
    (0.68, 0.25),
    (0.6, 0.42),
    (0.45, 0.48),
    (0.66, 0.58),
    (0.7, 0.75),
    (0.5, 0.88),
    (0.28, 0.8),
)
"""A digit, as shares of the pad's side."""


def submit(http: httpx.Client, example: str, owner: str, labels: dict[str, str]) -> str:
    """Queue an example; its id."""
    spec = yaml.safe_load((ROOT / "examples" / f"{example}.yaml").read_text())
    answer = http.post("/v1/jobs", json={**spec, "labels": labels}, headers={"Annealer-Owner": owner})
    return str(answer.raise_for_status().json()["id"])


def combine(http: httpx.Client, job: str) -> str:
    """An ensemble of all snapshots of a job, once it is scored; its id."""
    wish = {"name": "five together", "members": {"kind": "jobs", "ids": [job]}, "temperature": {}}
    made = http.post("/v1/ensembles", json=wish).raise_for_status().json()
    await_true(lambda: http.get(f"/v1/ensembles/{made['id']}").json()["report"] is not None, SECONDS)
    return str(made["id"])


def take(
    page: Page, url: str, name: str, settled: str, height: int, width: int = 1280, draw: Sequence[Place] = ()
) -> None:
    """A picture of a page once it shows `settled`, after something was drawn where there is a pad."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto(url)
    page.get_by_text(settled).first.wait_for()
    if draw:
        stroke(page, *draw)
        page.locator(".answer").wait_for()
    page.wait_for_timeout(1500)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.save(TARGET / f"{name}.webp", quality=82, method=6)


def main() -> None:
    """Train, look, write."""
    TARGET.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Up(Path(folder)) as up,
        httpx.Client(base_url=up.url, timeout=20) as http,
        sync_playwright() as playwright,
    ):
        path = executable(playwright)
        if path is None:
            sys.exit(NO_BROWSER)
        jobs = [submit(http, *job) for job in JOBS]
        await_true(lambda: http.get(f"/v1/jobs/{jobs[0]}").json()["status"] == "succeeded", SECONDS)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        light, dark = (browser.new_page(color_scheme=scheme) for scheme in ("light", "dark"))
        await_true(lambda: http.get(f"/v1/jobs/{jobs[2]}").json()["status"] == "succeeded", SECONDS)
        take(light, up.url, "jobs", "averaged weights", 530)
        take(dark, f"{up.url}/jobs/{jobs[0]}", "job", "ensemble of 3", 1180)
        take(light, f"{up.url}/new", "new", "Can be trained", 1000, 1640)
        take(light, f"{up.url}/compare?jobs={jobs[0]}&jobs={jobs[2]}&jobs={jobs[3]}", "compare", "by epoch", 1150)
        take(light, f"{up.url}/datasets/mnist5k", "dataset", "Train on it", 900)
        ensemble = combine(http, jobs[0])
        take(light, f"{up.url}/ensembles/{ensemble}", "ensemble", "Calibration", 1500, draw=THREE)
        browser.close()


if __name__ == "__main__":
    main()
