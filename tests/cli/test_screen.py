"""Tables of the command line, from what the API answers."""

import json
from typing import Any

from rich.console import Console

from app import screen
from app.api.schemas import DistributionView, LayerStatisticsView
from app.api.views import plan_view
from tests.specs import document
from trainer.data import DataFacts
from trainer.parsing import parse
from trainer.plan import check

COLOUR = DataFacts("colours", "0" * 64, 3, 32, 32, ("a", "b"), 100, 10)
BATCH_NORM = {"kind": "batch_norm"}
LAYERS = [{"kind": "convolution", "channels": 8}, BATCH_NORM, {"kind": "activation"}]


def printed(table: Any) -> list[list[str]]:
    """The cells of each line."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_each_layers_weights_are_worked_out() -> None:
    spec = parse(json.dumps(document(network={"kind": "layers", "layers": LAYERS}, batch_size=10)))

    rows = {row[1]: row for row in printed(screen.layer_table(plan_view(check(spec, COLOUR)).layers)) if len(row) > 2}

    assert rows["conv1"][3:10] == ["8×30×30", "8", "×", "(3·3·3)", "=", "216", "8"]
    assert rows["norm1"][4:6] == ["8", "8"]
    assert rows["output"][4:9] == ["2", "×", "7200", "=", "14,400"]


def test_a_layers_gradients_are_shown_by_norm_and_sketch() -> None:
    seen = DistributionView(mean=0.0, std=0.5, histogram=[0, 0, 3, 1, 0, 0])
    gradients = DistributionView(mean=0.0, std=0.25, histogram=[0, 0, 0, 0, 0, 8])
    layer = LayerStatisticsView(
        epoch=1,
        step=32,
        index=0,
        name="hidden1",
        kind="Linear",
        activations=seen,
        gradients=gradients,
        dead=None,
        saturated=None,
        symmetric=False,
        weight_norm=2.0,
        weight_gradient_norm=0.125,
        update_ratio=0.003,
    )

    lines = printed(screen.layer_statistics_table([layer], 1))

    assert lines[-2] == ["0", "hidden1", "0", "0.5", "0.25", "0.125", "0.003", "█", "█"]
