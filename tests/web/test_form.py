"""The form of a new job beside its text, in a real Chromium."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import Open, Service, Tab

SPEC = """# What is learnt here.
name: digits  # for people
dataset: mnist5k
network: {kind: mlp, hidden: [16]}
schedule: {kind: constant, learning_rate: 0.05}
epochs: 2
"""


@pytest.fixture
def tab(service: Service, open_tab: Open) -> Tab:
    opened = open_tab(f"{service.url}/new")
    opened.page.fill("#spec", SPEC)
    expect(field(opened.page, "/epochs")).to_have_value("2")
    return opened


def field(page: Page, pointer: str) -> Locator:
    return page.locator(f'#form [data-at="{pointer}"]')


def refused(tab: Tab) -> None:
    """Refused specs are answers of 422, which Chromium notes in its console."""
    assert all("422" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_the_form_changes_the_text_and_leaves_its_comments(tab: Tab) -> None:
    page = tab.page

    field(page, "/epochs").fill("7")
    field(page, "/network/hidden").fill("64, 32")
    field(page, "/network/dropout").check()
    field(page, "/network/dropout/drop").fill("0.3")
    field(page, "/augmentation+").select_option("random_crop")
    field(page, "/augmentation/0/padding").fill("2")
    field(page, "/labels").fill("study: one\nby: ada")
    field(page, "/labels").blur()

    expect(page.locator("#spec")).to_have_value(
        """# What is learnt here.
name: digits # for people
dataset: mnist5k
network: {kind: mlp, hidden: [64, 32], dropout: {drop: 0.3}}
schedule: {kind: constant, learning_rate: 0.05}
epochs: 7
augmentation: [{kind: random_crop, padding: 2}]
labels: {study: one, by: ada}
"""
    )
    expect(page.locator("#verdict")).to_contain_text("Can be trained")
    refused(tab)


def test_another_kind_keeps_what_both_have_and_asks_for_the_rest(tab: Tab) -> None:
    page = tab.page

    field(page, "/schedule").select_option("step")

    expect(page.locator("#spec")).to_have_value(re.compile("^schedule: {kind: step, learning_rate: 0.05}$", re.M))
    every = page.locator('#form [data-pointer="/schedule/every"]')
    expect(every.locator(".field-mistake")).to_contain_text("missing")
    expect(every.locator("input")).to_have_attribute("aria-invalid", "true")
    field(page, "/schedule/every").fill("1")
    field(page, "/schedule/factor").fill("0.5")
    field(page, "/schedule/factor").blur()
    expect(page.locator("#verdict")).to_contain_text("Can be trained")
    expect(page.locator(".field-mistake")).to_have_count(0)
    refused(tab)


def test_what_is_emptied_is_left_out_and_defaults_show_through(tab: Tab) -> None:
    page = tab.page
    expect(field(page, "/batch_size")).to_have_attribute("placeholder", "128")

    field(page, "/batch_size").fill("32")
    field(page, "/optimizer/momentum").select_option("nesterov")
    field(page, "/batch_size").fill("")
    field(page, "/batch_size").blur()

    expect(page.locator("#spec")).not_to_have_value(re.compile("batch_size"))
    expect(page.locator("#spec")).to_have_value(re.compile("^optimizer: {kind: sgd, momentum: {form: nesterov", re.M))
    expect(page.locator("#verdict")).to_contain_text("Can be trained")


def test_lists_are_added_to_put_in_order_and_taken_from(tab: Tab) -> None:
    page = tab.page
    for kind in ("horizontal_flip", "random_crop", "cutout"):
        field(page, "/augmentation+").select_option(kind)

    page.click("[aria-label='Move up augmentation 3']")
    page.click("[aria-label='Remove augmentation 1']")

    expect(field(page, "/augmentation/0")).to_have_value("cutout")
    expect(field(page, "/augmentation/1")).to_have_value("random_crop")
    expect(page.locator("#form .spec-item")).to_have_count(2)
    refused(tab)


def test_the_form_follows_the_text_once_it_can_be_read(tab: Tab) -> None:
    page = tab.page

    page.fill("#spec", SPEC.replace("epochs: 2", "epochs: [2"))
    expect(page.locator("#form-told")).to_be_visible()
    assert page.evaluate("document.getElementById('form').inert")
    page.fill("#spec", SPEC.replace("epochs: 2", "epochs: 12"))

    expect(page.locator("#form-told")).to_be_hidden()
    expect(field(page, "/epochs")).to_have_value("12")
    refused(tab)


def test_a_field_tells_what_it_is_for_while_it_is_in_use(tab: Tab) -> None:
    page = tab.page
    help = page.locator('#form [data-pointer="/seed"] .help')
    expect(help).to_be_hidden()

    field(page, "/seed").focus()

    expect(help).to_contain_text("Every random draw")
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#spec")).to_be_hidden()
    page.click("text=Text >> nth=0")
    expect(page.locator("#spec")).to_be_visible()
    expect(page.locator("#form")).to_be_hidden()
