"""What is compared: a baseline, and each technique taken away from it or added to it, as a user writes it in a spec.

Rates are not tuned for each variant: every schedule has the baseline's highest rate, plain SGD and the averaged form
ten times as much, so that steps are of one size in the long run, and optimizers that scale gradients a usual one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.parsing import parse
from trainer.spec import TrainingSpec

RATE = 0.01
BATCH_SIZES = {100: 10, 500: 25, 4000: 50}
"""Images in a step, by the number of labels: fewer images are seen in smaller batches, or there would be few steps."""

ALL = tuple(BATCH_SIZES)
FULL = (4000,)

BASELINE = "baseline"
DEPTH = "batch norm at depth"

CONVNET = {"kind": "convnet", "channels": [16, 32], "batch_norm": {}, "initialization": {"kind": "he"}}
DEEP: Mapping[str, Any] = {"kind": "mlp", "hidden": [64] * 10}
STARTS: Mapping[str, dict[str, Any]] = {
    "weights of std 0.01": {"kind": "small_random", "std": 0.01},
    "weights of std 1": {"kind": "small_random", "std": 1.0},
    "he": {"kind": "he"},
}
"""How the deep network starts: with too little, with too much, and as it should."""


@dataclass(frozen=True)
class Variant:
    """A spec beside another: what it changes of the baseline's, and the numbers of labels that it is trained with.

    `against` names the variant that it is compared with, if with any; `quick` ones are part of a quick run.
    """

    name: str
    group: str
    changes: Mapping[str, Any]
    quick: bool = False
    against: str | None = BASELINE
    labels: tuple[int, ...] = ALL

    def spec(self, labels: int, epochs: int, seed: int) -> TrainingSpec:
        """The whole spec. Raises `SpecInvalid`."""
        document = {
            "name": f"{self.name}, {labels} labels",
            "dataset": "mnist5k",
            "seed": seed,
            "device": "cpu",
            "network": CONVNET,
            "optimizer": {"kind": "sgd", "momentum": {"form": "classical", "m": 0.9}},
            "schedule": {"kind": "cosine", "learning_rate": RATE},
            "batch_size": BATCH_SIZES[labels],
            "epochs": epochs,
            "inspection": {"every": 0, "lint": "off"},
        }
        return parse(json.dumps(document | dict(self.changes)))


def variants(epochs: int) -> tuple[Variant, ...]:
    """Every variant of a training of so many epochs; a new technique is one line more."""
    return (
        Variant(BASELINE, BASELINE, {}, quick=True, against=None),
        # Updates.
        Variant("plain SGD", "updates", _sgd({"form": "none"}, 10 * RATE), quick=True),
        Variant("averaged momentum", "updates", _sgd({"form": "averaged", "b": 0.1}, 10 * RATE)),
        Variant("nesterov momentum", "updates", _sgd({"form": "nesterov", "m": 0.9}, RATE), quick=True),
        Variant("adagrad", "updates", _optimizer(0.01, kind="adagrad")),
        Variant("rmsprop", "updates", _optimizer(0.001, kind="rmsprop")),
        Variant("adam", "updates", _optimizer(0.001, kind="adam")),
        Variant("adamw", "updates", _optimizer(0.001, kind="adamw", weight_decay=0.01)),
        # Schedules; the baseline's is cosine.
        Variant("constant rate", "schedules", _schedule("constant"), quick=True),
        Variant("step", "schedules", _schedule("step", factor=0.1, every=epochs // 3)),
        Variant("multistep", "schedules", _schedule("multistep", after=[epochs // 2, epochs * 3 // 4])),
        Variant("exponential", "schedules", _schedule("exponential", k=4.6 / epochs)),
        Variant("inverse_time", "schedules", _schedule("inverse_time", k=9 / epochs)),
        Variant("polynomial", "schedules", _schedule("polynomial", power=2.0)),
        Variant("linear", "schedules", _schedule("linear")),
        Variant("cosine_restarts", "schedules", _schedule("cosine_restarts", first=epochs // 3, factor=2)),
        Variant("snapshot_cycles, last model", "schedules", _schedule("snapshot_cycles", cycles=4)),
        Variant("triangular", "schedules", _schedule("triangular", RATE / 10, maximum=RATE, half=epochs / 8)),
        Variant("one_cycle", "schedules", _schedule("one_cycle", RATE / 10, maximum=RATE)),
        Variant("plateau", "schedules", _schedule("plateau", factor=0.3, patience=2)),
        Variant("warm-up, then cosine", "schedules", _schedule("cosine", warmup={"epochs": 2})),
        # Initialisations; the baseline's is he.
        Variant("constant weights", "initialisations", _network(initialization={"kind": "constant"}), quick=True),
        Variant("small_random", "initialisations", _network(initialization={"kind": "small_random"})),
        Variant("xavier", "initialisations", _network(initialization={"kind": "xavier"})),
        # Inside the network.
        Variant("without batch norm", "network", _network(batch_norm=None), quick=True),
        Variant("dropout 0.5", "network", _network(dropout={"drop": 0.5}), quick=True),
        # Preprocessing and augmentation.
        Variant("raw images", "images", {"preprocessing": {"centre": "none", "scale": False}}),
        Variant("zca whitening", "images", {"preprocessing": _zca(0.1)}),
        Variant("random crop", "images", {"augmentation": [{"kind": "random_crop", "padding": 2}]}, quick=True),
        Variant("cutout", "images", {"augmentation": [{"kind": "cutout", "size": 8, "fill": "black"}]}),
        Variant("mixup", "images", {"augmentation": [{"kind": "mixup", "alpha": 0.2}]}, quick=True),
        # Loss and penalties.
        Variant("label smoothing 0.1", "loss", {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}}, quick=True),
        Variant("weight decay 0.0005", "loss", {"regularization": {"weight_decay": 5e-4}}, quick=True),
        Variant("max-norm 3", "loss", {"regularization": {"max_norm": 3.0}}),
        Variant("gradient clipping 1", "loss", {"regularization": {"gradient_clipping": {"norm": 1.0}}}),
        # Ensembles.
        Variant("snapshot ensemble", "ensembles", _snapshots(cycles=4, last=3), quick=True),
        *_at_depth(),
    )


def _sgd(momentum: dict[str, Any], rate: float) -> dict[str, Any]:
    return _optimizer(rate, kind="sgd", momentum=momentum)


def _optimizer(rate: float, **optimizer: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, **_schedule("cosine", rate)}


def _schedule(kind: str, rate: float = RATE, **fields: Any) -> dict[str, Any]:
    return {"schedule": {"kind": kind, "learning_rate": rate, **fields}}


def _network(**changes: Any) -> dict[str, Any]:
    return {"network": {**CONVNET, **changes}}


def _zca(epsilon: float) -> dict[str, Any]:
    return {"centre": "per_pixel", "scale": True, "whitening": {"kind": "zca", "epsilon": epsilon}}


def _snapshots(cycles: int, last: int) -> dict[str, Any]:
    return {**_schedule("snapshot_cycles", cycles=cycles), "ensemble": {"kind": "snapshots", "last": last}}


def _at_depth() -> tuple[Variant, ...]:
    """A perceptron of ten hidden layers, however it starts, without batch norm and with it."""
    pairs = []
    for start, initialization in STARTS.items():
        name, network = f"deep, {start}", {**DEEP, "initialization": initialization}
        normalized = {**network, "batch_norm": {}}
        pairs += [
            Variant(name, DEPTH, {"network": network}, quick=True, against=None, labels=FULL),
            Variant(f"{name}, batch norm", DEPTH, {"network": normalized}, quick=True, against=name, labels=FULL),
        ]
    return tuple(pairs)
