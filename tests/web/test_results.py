"""Data sets, ensembles, comparisons and keys on the pages, in a real Chromium."""

import csv
import io
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import FilePayload, expect
from sqlalchemy import Engine

from app.store.scopes import Scope
from tests import packs
from tests.web.conftest import Open, Service, new_key, saved, stroke

ROUND = ((0.5, 0.1), (0.25, 0.3), (0.22, 0.6), (0.4, 0.88), (0.65, 0.85), (0.78, 0.55), (0.72, 0.25), (0.5, 0.1))
WELL_TRAINED = {"network": {"kind": "mlp", "hidden": [64]}, "epochs": 8, "batch_size": 32}


def test_an_upload_is_corrected_and_becomes_a_data_set(service: Service, open_tab: Open, tmp_path: Path) -> None:
    file = tmp_path / "My Pets.zip"
    pictures = {name: content for name, content in packs.images().items() if name.startswith("train/")}
    file.write_bytes(packs.zipped({name.removeprefix("train/"): content for name, content in pictures.items()}))
    tab = open_tab(f"{service.url}/datasets")
    page = tab.page

    page.set_input_files("#file", file)
    expect(page.locator("#name")).to_have_value("my-pets")
    page.click("#send")
    page.wait_for_url(re.compile("/datasets/my-pets$"))
    expect(page.locator("#status")).to_have_text("failed", timeout=30_000)
    expect(page.locator("#failure")).to_contain_text("validat")
    page.click("text=Try it with other options")
    page.set_input_files("#file", file)
    page.select_option("#validation", "0.2")
    page.click("#send")
    page.wait_for_url(re.compile("/datasets/my-pets$"))

    expect(page.locator("#status")).to_have_text("ready", timeout=30_000)
    expect(page.locator("#classes tbody tr")).to_have_text([re.compile("cat.*8.*2"), re.compile("dog.*8.*2")])
    page.wait_for_function("document.getElementById('sample').naturalWidth > 0")
    classes = page.get_by_role("region", name="Classes", exact=True)
    assert saved(classes, "CSV").decode().split() == ["class,train,validation", "cat,8,2", "dog,8,2"]
    assert saved(classes, "SVG").decode().count("<rect") == 1 + 2
    page.click("#train")
    expect(page.locator("#spec")).to_have_value(re.compile("^dataset: my-pets$", re.MULTILINE))
    page.goto(f"{service.url}/datasets/my-pets")
    page.click("#delete")
    page.click("#question-yes")
    page.wait_for_url(re.compile("/datasets$"))
    expect(page.locator("#datasets")).not_to_contain_text("my-pets")
    # The example's network does not fit these images: an answer of 422, which Chromium notes in its console.
    assert all("422" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def png(name: str, content: bytes) -> FilePayload:
    """A file that is said to be a PNG."""
    return {"name": name, "mimeType": "image/png", "buffer": content}


def test_snapshots_become_an_ensemble_that_recognises_what_is_drawn(service: Service, open_tab: Open) -> None:
    job = service.finished(name="two of it", **WELL_TRAINED)
    page = open_tab(f"{service.url}/ensembles/new?jobs={job}").page

    expect(page.locator("#chosen")).to_have_text("2 ticked.")
    page.fill("#name", "both")
    page.select_option("#select", "greedy")
    page.check("#temperature")
    page.click("#make")
    page.wait_for_url(re.compile("/ensembles/ens_"))
    address = page.url
    page.click("text=Its job")
    expect(page.locator("#status")).to_have_text("succeeded", timeout=60_000)
    expect(page.locator("#events")).to_contain_text("succeeded")
    page.click("text=What it makes")
    expect(page).to_have_url(address)
    expect(page.locator("#status")).to_have_text("scored")
    expect(page.locator("#facts")).to_contain_text("negative log likelihood on validation/a")
    for card in ("Calibration", "Confusion", "Classes"):
        expect(page.get_by_role("region", name=card, exact=True)).to_be_visible()
    page.locator(".pad").scroll_into_view_if_needed()
    stroke(page, (0.5, 0.15), (0.5, 0.85))
    expect(page.locator(".answer h3")).to_contain_text("1")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".answer")).to_have_count(0)
    stroke(page, *ROUND)
    expect(page.locator(".answer h3")).to_contain_text("0")
    pictures = list(packs.images(side=28).values())[:3]
    page.set_input_files("#images", [png(f"{number}.png", content) for number, content in enumerate(pictures)])

    expect(page.locator(".answer")).to_have_count(3)
    first = page.locator(".answer").first
    together, *members = list(csv.DictReader(io.StringIO(saved(first, "CSV").decode())))
    assert together["member"] == "together"
    assert together["sees"] == first.locator("h3").inner_text().split()[0]
    for voice in (together, *members):
        assert sum(float(voice[str(digit)]) for digit in range(10)) == pytest.approx(1)
    likeliest, marks = 5, 5 * len(members)
    assert saved(first, "SVG").decode().count("<rect") == 1 + likeliest + marks
    first.locator(".table-alternative summary").click()
    expect(first.locator(".table-alternative tbody tr")).to_have_count(1 + len(members))
    page.set_input_files("#images", [png(f"{number}.png", pictures[0]) for number in range(33)])
    expect(page.locator(".answers .mistake")).to_contain_text("Those are 33 images; give 32 at once at most")
    page.click("#delete")
    page.click("#question-yes")
    page.wait_for_url(re.compile("/ensembles$"))
    expect(page.locator("#ensembles tbody tr")).to_have_count(1)


def test_an_image_that_cannot_be_read_is_named(service: Service, open_tab: Open) -> None:
    ensemble = service.http.get(f"/v1/jobs/{service.finished()}/ensemble").json()["id"]
    tab = open_tab(f"{service.url}/ensembles/{ensemble}")

    tab.page.set_input_files("#images", [png("notes.png", b"no picture")])

    expect(tab.page.locator(".answers .mistakes")).to_contain_text("notes.png")
    # The refusal is an answer of 422, which Chromium notes in its console.
    assert all("422" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_what_may_not_be_mixed_is_refused_with_the_reason(service: Service, open_tab: Open) -> None:
    job = service.finished()
    tab = open_tab(f"{service.url}/ensembles/new?jobs={job}")
    page = tab.page
    expect(page.locator("#chosen")).to_have_text("2 ticked.")

    page.select_option("#select", "best")
    page.fill("#count", "9")
    page.click("#make")

    expect(page.locator("#mistakes")).to_contain_text("/select/count")
    expect(page.locator("#make")).to_be_enabled()
    tab.complaints.clear()


def test_trainings_are_compared_and_the_address_keeps_how(service: Service, open_tab: Open) -> None:
    rates = [{"kind": "constant", "learning_rate": rate} for rate in (0.01, 0.1)]
    spec = {"name": "rates", "ensemble": {"kind": "none"}}
    specs = [{"schedule": rates[0]}, {"schedule": rates[0], "seed": 5}, {"schedule": rates[1]}]
    jobs = [service.finished(**spec, **one) for one in specs]
    page = open_tab(service.url).page
    expect(page.locator("#rows .row")).to_have_count(3)

    page.check("#all")
    page.click("text=Compare >> nth=1")
    page.wait_for_url(re.compile("/compare"))
    expect(page.locator("#jobs tbody tr")).to_have_count(3)
    expect(page.locator("#differences")).to_contain_text("/schedule/learning_rate")
    expect(page.locator("#repetitions")).to_contain_text("seeds")
    page.check("#seeds")
    page.select_option("#figure", "validation_loss")
    page.check("#log")
    page.select_option("#up", "seconds")
    expect(page.locator("#readout small")).to_have_text(["Epoch", "rates, 2 seeds", re.compile("rates, seed")])
    page.wait_for_url(re.compile("figure=validation_loss&log=1&seeds=1.*up=seconds"))
    page.reload()
    expect(page.locator("#figure")).to_have_value("validation_loss")
    expect(page.locator("#across")).to_have_value("/schedule/learning_rate")
    with page.expect_download() as saved:
        page.click("#curves-title ~ .tools .menu summary")
        page.click("text=CSV >> nth=0")
    lines = Path(saved.value.path()).read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith('epoch,"rates, 2 seeds"')
    page.click("[aria-label='Remove rates'] >> nth=0")

    expect(page.locator("#jobs tbody tr")).to_have_count(2)
    assert sum(job in page.url for job in jobs) == 2


def test_a_job_moves_up_in_the_line(service: Service, open_tab: Open) -> None:
    running = service.submit(name="long", epochs=1000)
    first, second = service.submit(name="first"), service.submit(name="second")
    page = open_tab(service.url).page
    row = page.locator("#rows .row", has_text="second")
    expect(row).to_contain_text("2 in line")

    row.locator("input").check()
    page.click("[data-bulk=raise]")

    expect(row).to_contain_text("next")
    expect(row).to_contain_text("+1")
    page.goto(f"{service.url}/jobs/{first}")
    page.click("[aria-label='Raise the priority']")
    page.click("[aria-label='Raise the priority']")
    expect(page.locator(".steps")).to_contain_text("2")
    expect(page.locator("#facts")).to_contain_text("next")
    assert [service.http.get(f"/v1/jobs/{job}").json()["priority"] for job in (running, first, second)] == [0, 2, 1]


def test_an_admin_makes_a_key_and_revokes_it(closed_door: tuple[httpx.Client, Engine], open_tab: Open) -> None:
    http, engine = closed_door
    _, key = new_key(engine, owner="root", scope=Scope.ADMIN)
    tab = open_tab(f"{http.base_url}/keys")
    page = tab.page
    page.fill("#key", key)
    page.keyboard.press("Enter")

    page.fill("#name", "laptop")
    page.fill("#owner", "grace")
    page.select_option("#days", "30")
    page.click("#make")
    expect(page.locator("#text")).to_have_text(re.compile("^ann_"))
    text = page.locator("#text").text_content()
    header = {"Authorization": f"Bearer {text}"}
    assert httpx.get(f"{http.base_url}/v1/jobs", headers=header).status_code == 200
    assert tab.violations() == []
    page.click("[aria-label='Revoke laptop']")
    page.click("#question-yes")

    expect(page.locator("#keys tbody tr", has_text="laptop")).to_contain_text("revoked")
    assert httpx.get(f"{http.base_url}/v1/jobs", headers=header).status_code == 401
    page.reload()
    expect(page.locator("#keys")).to_contain_text("laptop")
    assert text not in page.content()


def test_a_model_is_exported_and_a_data_set_predicted(service: Service, open_tab: Open) -> None:
    ensemble = service.http.get(f"/v1/jobs/{service.finished()}/ensemble").json()["id"]
    page = open_tab(f"{service.url}/ensembles/{ensemble}").page

    page.get_by_role("form", name="Export").get_by_label("Format").select_option("safetensors")
    page.get_by_role("button", name="Export").click()
    page.wait_for_url(re.compile("/jobs/job_"))
    expect(page.locator("#files tbody tr")).to_have_text(
        [re.compile("annealer.json"), re.compile("model.safetensors")], timeout=60_000
    )
    page.goto(f"{service.url}/ensembles/{ensemble}")
    page.get_by_role("form", name="Predict a data set").get_by_label("Data set").select_option("mnist5k")
    page.get_by_role("button", name="Predict a data set").click()
    page.wait_for_url(re.compile("/jobs/job_"))
    expect(page.locator("#files")).to_contain_text("predictions.csv", timeout=60_000)
    with page.expect_download() as download:
        page.click("text=predictions.csv >> nth=0")

    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("split,index,label,predicted,probability,p(0)")
    assert len(lines) == 5001


def test_a_worker_is_drained_and_takes_jobs_again(service: Service, open_tab: Open) -> None:
    page = open_tab(f"{service.url}/workers").page

    page.get_by_role("button", name=re.compile("^Drain")).click()
    expect(page.locator(".worker-cards .badge")).to_have_text("drained")
    job = service.submit()
    page.get_by_role("button", name=re.compile("^Take jobs again")).click()

    expect(page.locator(".worker-cards .badge")).to_have_text("alive")
    service.finish(job)
