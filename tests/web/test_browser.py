"""What people do on the pages, in a real Chromium, with a service that really trains."""

import csv
import io
import re

import httpx
import pytest
import yaml
from playwright.sync_api import expect
from sqlalchemy import Engine, insert

from app.store import ids, keys
from app.store.engine import write
from app.store.models import Job
from app.web.rendering import PAGES
from tests.servers import await_true
from tests.shop import Shop
from tests.specs import document
from tests.web.conftest import Open, Service, Up, new_key, saved
from trainer.events import HISTOGRAM_EDGES

LONG = {"epochs": 1000, "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.05, "cycles": 100}}
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}</script><script>alert(2)</script>"


def test_a_spec_is_corrected_as_it_is_written_then_trained_and_followed(service: Service, open_tab: Open) -> None:
    tab = open_tab(f"{service.url}/new")
    page = tab.page
    wrong = yaml.safe_dump(document(network={"kind": "mpl", "hidden": [16]}), sort_keys=False)

    page.fill("#spec", wrong)
    expect(page.locator("#mistakes")).to_contain_text("did you mean mlp?")
    expect(page.locator("#submit")).to_be_disabled()
    line = wrong.splitlines().index("  kind: mpl") + 1
    expect(page.locator("#gutter .mistake")).to_have_text(str(line))
    page.fill("#spec", wrong.replace("mpl", "mlp"))
    expect(page.locator("#verdict")).to_contain_text("Can be trained")
    expect(page.locator("#layers")).to_contain_text("hidden1")
    page.click("#submit")

    page.wait_for_url(re.compile("/jobs/job_"))
    expect(page.locator("#status")).to_have_text("succeeded", timeout=60_000)
    expect(page.locator("#snapshots")).to_contain_text("no. 2")
    expect(page.locator("#ensemble")).to_contain_text("ensemble of 2")
    expect(page.locator("#readout")).to_contain_text("128")
    page.click(".table-alternative summary")
    expect(page.locator("#epochs tbody tr")).to_have_count(4)
    # Refused specs are answers of 422, which Chromium notes in its console.
    assert all("422" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_snapshots_are_scored_by_their_number(service: Service, open_tab: Open) -> None:
    job = service.finished(name="sizes")
    page = open_tab(f"{service.url}/jobs/{job}").page

    page.click("text=Score by number of members")
    growth, _, confusion, *_ = (page.locator("#scores section").nth(place) for place in range(4))
    expect(growth.locator("canvas")).to_be_visible(timeout=60_000)
    expect(confusion.locator(".matrix tbody tr")).to_have_count(10)
    growth.locator(".table-alternative summary").click()
    expect(growth.locator(".table-alternative tbody tr")).to_have_count(2)
    page.click("text=Delete this ensemble")

    expect(page.locator("#scoring")).to_contain_text("Score by number of members")
    expect(page.locator("#scores section")).to_have_count(0)
    expect(page.get_by_role("form", name="Export")).to_be_visible()


def test_a_snapshot_alone_is_scored_by_class(service: Service, open_tab: Open) -> None:
    job = service.finished(ensemble={"kind": "none"}, schedule={"kind": "constant", "learning_rate": 0.05})
    page = open_tab(f"{service.url}/jobs/{job}").page

    page.click("text=Score by class")

    expect(page.locator("#scores [aria-label=Classes] tbody tr")).to_have_count(10, timeout=60_000)
    expect(page.locator("#scores [aria-label='Error by number of members']")).to_have_count(0)


def test_what_is_drawn_is_saved_as_pictures_and_numbers(service: Service, open_tab: Open) -> None:
    job = service.finished(name="sizes")
    page = open_tab(f"{service.url}/jobs/{job}").page
    layers = page.locator("#layers-card")

    layers.locator(".table-alternative summary").click()
    expect(layers.locator("#counts tbody tr")).to_have_count(len(HISTOGRAM_EDGES) + 1)
    files = {kind: saved(layers, kind) for kind in ("PNG", "SVG", "CSV")}
    page.click("text=Score by number of members")
    confusion = page.locator("#scores [aria-label=Confusion]")
    drawn = saved(confusion, "SVG").decode()
    growth = page.locator("#scores [aria-label='Error by number of members']")
    curves = {kind: saved(growth, kind) for kind in ("PNG", "SVG")}
    recall = saved(page.locator("#scores [aria-label=Classes]"), "SVG").decode()
    ensemble = page.get_by_role("region", name="Ensemble", exact=True)
    models = list(csv.DictReader(io.StringIO(saved(ensemble, "CSV").decode())))
    beside = saved(ensemble, "SVG").decode()

    assert files["PNG"].startswith(b"\x89PNG")
    assert {"hidden1, outputs", "hidden1, gradients"} <= set(
        re.findall("<text[^>]*>([^<]*)</text>", files["SVG"].decode())
    )
    rows = list(csv.DictReader(io.StringIO(files["CSV"].decode())))
    found = httpx.get(f"{service.url}/v1/jobs/{job}/layers").json()
    of_first = {row["of"]: row for row in rows if row["epoch"] == "0" and row["layer"] == found["items"][0]["name"]}
    assert of_first["outputs"]["above 1000"] == str(found["items"][0]["activations"]["histogram"][-1])
    assert len(rows) == 2 * len(found["items"])
    assert drawn.count("<rect") == 1 + 10 * 10
    assert curves["PNG"].startswith(b"\x89PNG")
    assert {"together", "the added one alone"} <= set(re.findall("<text[^>]*>([^<]*)</text>", curves["SVG"].decode()))
    assert recall.count("<rect") == 1 + 10
    members = httpx.get(f"{service.url}/v1/jobs/{job}/ensemble").json()["members"]
    assert {member["scores"]["error"] for member in members} <= {float(model["error"]) for model in models}
    assert beside.count("<rect") == 1 + len(models)


def test_curves_grow_and_a_job_is_paused_resumed_and_cancelled(service: Service, open_tab: Open) -> None:
    job = service.submit(name="long", **LONG)
    page = open_tab(f"{service.url}/jobs/{job}").page
    step = page.locator("#readout b").first

    expect(page.locator("#status")).to_have_text("running", timeout=30_000)
    expect(step).not_to_be_empty()
    seen = step.text_content()
    expect(step).not_to_have_text(seen or "", timeout=10_000)
    page.click("[data-action=pause]")
    expect(page.locator("#status")).to_have_text("paused", timeout=20_000)
    page.click("[data-action=resume]")
    expect(page.locator("#status")).to_have_text("running", timeout=20_000)
    page.click("[data-action=cancel]")
    page.click("#question-yes")

    expect(page.locator("#status")).to_have_text("cancelled", timeout=20_000)
    expect(page.locator("[data-action=retry]")).to_be_visible()
    expect(page.locator("#events")).to_contain_text("cancelled")


def test_zooming_asks_for_finer_data_and_the_address_keeps_it(service: Service, open_tab: Open) -> None:
    job = service.finished()
    page = open_tab(f"{service.url}/jobs/{job}").page
    expect(page.locator("#readout")).to_contain_text("128")
    expect(page.locator(".u-over").first).to_be_visible()
    over = page.locator(".u-over").first.bounding_box()
    assert over is not None

    with page.expect_response(lambda answer: "to_step=" in answer.url) as finer:
        page.mouse.move(over["x"] + 0.25 * over["width"], over["y"] + 20)
        page.mouse.down()
        page.mouse.move(over["x"] + 0.5 * over["width"], over["y"] + 30, steps=4)
        # Drawn with the next frame, which nobody's hand is quicker than.
        page.wait_for_function("() => document.querySelector('.u-select').offsetWidth > 4")
        page.mouse.up()

    assert finer.value.ok
    page.wait_for_url(re.compile("from=3[0-9]&to=6[0-9]"))
    page.reload()
    expect(page.locator("#readout")).to_contain_text("Step")
    page.click("#zoom-all")
    page.wait_for_url(re.compile(f"{job}$"))


def test_text_from_elsewhere_stays_text(service: Service, open_tab: Open) -> None:
    job = service.submit(name=HOSTILE, labels={"evil": HOSTILE[:60]})

    for path in ("/", f"/jobs/{job}", f"/new?clone={job}", "/workers", "/compare", "/ensembles/new"):
        tab = open_tab(service.url + path)
        tab.page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        if path != "/workers":
            tab.page.wait_for_function(
                "text => document.body.innerText.includes(text) ||"
                " document.getElementById('spec')?.value.includes('onerror')",
                arg=HOSTILE[:20],
            )
        assert tab.page.locator("main img[onerror], main img[src=x], main script").count() == 0
        assert (HOSTILE in tab.page.title()) == path.startswith("/jobs/")


def test_many_jobs_are_cancelled_and_deleted_at_once_with_the_keyboard(service: Service, open_tab: Open) -> None:
    jobs = [service.submit(name=f"many {number}", **LONG) for number in range(4)]
    page = open_tab(f"{service.url}/?name=many").page
    rows = page.locator("#rows .row")
    expect(rows).to_have_count(4)

    rows.first.focus()
    expect(rows.first).to_be_focused()
    for key in ("Space", "ArrowDown", "Space", "ArrowDown", "ArrowDown", "Space"):
        page.keyboard.press(key)
    expect(page.locator("#selected")).to_have_text("3 selected")
    page.click("[data-bulk=cancel]")
    page.click("#question-yes")
    expect(page.locator("#rows .badge.cancelled")).to_have_count(3, timeout=20_000)
    page.check("#all")
    page.click("[data-bulk=delete]")
    page.click("#question-yes")

    expect(rows).to_have_count(1, timeout=20_000)
    await_true(lambda: [service.http.get(f"/v1/jobs/{job}").status_code for job in jobs].count(404) == 3, 10)


def test_people_sign_in_with_a_key_and_out_again(closed_door: tuple[httpx.Client, Engine], open_tab: Open) -> None:
    http, engine = closed_door
    key_id, key = new_key(engine)
    tab = open_tab(f"{http.base_url}/new?example=swa")
    page = tab.page

    page.fill("#key", "ann_wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#mistake")).to_contain_text("unknown, expired or revoked")
    assert tab.violations() == []
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/new.example=swa$"))
    expect(page.locator("#verdict")).to_contain_text("Can be trained")
    assert page.evaluate("document.cookie") == ""
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth === 390")
    page.click("text=Sign out")
    expect(page.locator("#key")).to_be_visible()
    page.fill("#key", key)
    page.keyboard.press("Enter")
    expect(page.locator("#empty")).to_contain_text("No jobs yet")
    with write(engine) as session:
        keys.revoke(session, key_id)

    # The list asks again by itself, and finds that the session has ended with its key.
    expect(page.locator("#key")).to_be_visible(timeout=10_000)
    assert all(re.search("40[13]", complaint) for complaint in tab.complaints)
    tab.complaints.clear()


def test_ten_thousand_jobs_are_a_page_of_lines_at_a_time(
    open_door: tuple[httpx.Client, Engine], open_tab: Open
) -> None:
    http, engine = open_door
    one = Shop(engine).submit(name="one of many")
    row = {column.name: getattr(one, column.key) for column in Job.__table__.columns}
    with write(engine) as session:
        rows = [{**row, "id": ids.new("job"), "name": f"many {number}"} for number in range(10_000)]
        session.execute(insert(Job), rows)

    page = open_tab(str(http.base_url)).page
    expect(page.locator("#rows")).to_contain_text("many 9999")
    page.evaluate(
        """async () => {
            for (let turn = 0; turn < 200 && !document.body.innerText.includes("many 9000"); turn += 1) {
                scrollTo(0, document.body.scrollHeight);
                await new Promise((resolve) => setTimeout(resolve, 50));
            }
        }"""
    )

    expect(page.locator("#rows")).to_contain_text("many 9000")
    assert page.locator("#rows .row").count() < 60
    page.fill("[name=name]", "many 4711")
    expect(page.locator("#rows .row")).to_have_count(1)


def test_filters_are_kept_in_the_address(service: Service, open_tab: Open) -> None:
    service.submit(name="kept", labels={"study": "one"})
    service.submit(name="other", labels={"study": "two"})
    page = open_tab(service.url).page
    expect(page.locator("#rows .row")).to_have_count(2)

    page.click("text=study: one")
    expect(page.locator("#rows .row")).to_have_count(1)
    assert "label=study%3Aone" in page.url
    page.reload()

    expect(page.locator("#rows .row")).to_have_count(1)
    expect(page.locator("#rows .name a")).to_have_text("kept")
    page.select_option("[name=kind]", label="Exports")
    expect(page.locator("#rows .row")).to_have_count(0)
    assert "kind=export" in page.url


def test_a_page_goes_on_after_the_service_was_away(service: Service, up: Up, open_tab: Open) -> None:
    job = service.submit(**LONG)
    tab = open_tab(f"{service.url}/jobs/{job}")
    page = tab.page
    expect(page.locator("#status")).to_have_text("running", timeout=30_000)

    up.stop()
    expect(page.locator("#live")).to_have_text("not live", timeout=15_000)
    up.start()

    expect(page.locator("#live")).to_have_text("live", timeout=30_000)
    expect(page.locator("#status")).to_have_text("running", timeout=30_000)
    step = page.locator("#readout b").first
    seen = step.text_content()
    expect(step).not_to_have_text(seen or "", timeout=20_000)
    # Chromium notes each connection that is refused.
    assert all("ERR_" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_a_phone(service: Service, open_tab: Open, scheme: str) -> None:
    job = service.finished(labels={"study": "one"})
    made = service.http.get(f"/v1/jobs/{job}/ensemble").json()["id"]
    combined = service.combine(job)
    paths = [
        *(address for address, _ in PAGES),
        f"/jobs/{job}",
        f"/compare?jobs={job}&jobs={service.finished(seed=8)}",
        "/ensembles/new",
        f"/ensembles/{made}",
        f"/ensembles/{combined}",
        "/datasets/mnist5k",
        "/keys",
        "/jobs/none",
    ]

    for path in paths:
        tab = open_tab(service.url + path, color_scheme=scheme)
        if path != "/jobs/none":
            tab.page.wait_for_load_state("networkidle") if path == "/new" else tab.page.wait_for_timeout(1200)
        violations = tab.violations()
        tab.page.set_viewport_size({"width": 390, "height": 844})
        tab.page.wait_for_function("document.documentElement.scrollWidth === 390")
        if path == "/jobs/none":
            tab.complaints.clear()

        assert violations == [], path
