"""Statistics of layers over HTTP."""

from tests.api.conftest import Api
from trainer.events import HISTOGRAM_EDGES, Distribution, LayersInspected, LayerStatistics

VALUES = Distribution(0.25, None, tuple(range(len(HISTOGRAM_EDGES) + 1)))
LAYERS = (
    LayerStatistics(0, "conv1", "Convolution", VALUES, VALUES, None, None, False, 2.0, 0.5, 0.001),
    LayerStatistics(2, "activation1", "Activation", VALUES, VALUES, 0.125, None, None, None, None, None),
)


def inspected(api: Api) -> str:
    claim = api.shop.claimed()
    api.shop.record(
        claim, layers=[LayersInspected(epoch, epoch * 10, LAYERS[0].activations, LAYERS) for epoch in (0, 2)]
    )
    return f"/v1/jobs/{claim.job_id}/layers"


def test_layers_are_told_with_their_histograms(api: Api) -> None:
    answer = api.http.get(inspected(api)).json()

    assert answer["histogram_edges"] == list(HISTOGRAM_EDGES)
    assert [(item["epoch"], item["name"]) for item in answer["items"]] == [
        (0, "conv1"),
        (0, "activation1"),
        (2, "conv1"),
        (2, "activation1"),
    ]
    assert answer["items"][3] == {
        "epoch": 2,
        "step": 20,
        "index": 2,
        "name": "activation1",
        "kind": "Activation",
        "activations": {"mean": 0.25, "std": None, "histogram": list(VALUES.histogram)},
        "gradients": {"mean": 0.25, "std": None, "histogram": list(VALUES.histogram)},
        "dead": 0.125,
        "saturated": None,
        "symmetric": None,
        "weight_norm": None,
        "weight_gradient_norm": None,
        "update_ratio": None,
    }


def test_one_epoch_can_be_asked_for(api: Api) -> None:
    items = api.http.get(inspected(api), params={"epoch": 2}).json()["items"]

    assert [item["epoch"] for item in items] == [2, 2]


def test_a_job_that_nobody_has_looked_into_has_none(api: Api) -> None:
    job_id = api.submit().json()["id"]

    assert api.http.get(f"/v1/jobs/{job_id}/layers").json()["items"] == []


def test_layers_of_an_unknown_job_are_not_found(api: Api) -> None:
    assert api.http.get("/v1/jobs/job_none/layers").status_code == 404
