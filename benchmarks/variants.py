"""What is compared: a baseline, and each technique taken away from it or added to it, as a user writes it in a spec.

Most change one convolutional network with batch norm. Batch norm hides how weights start, and so initialisations are
compared in a deep perceptron without it, and Fixup in a deep residual network without it: each has a base of its own.

Rates are not tuned for each variant: every schedule has the baseline's highest rate, plain SGD and the averaged form
ten times as much, so that steps are of one size in the long run, and optimizers that scale gradients a usual one.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.parsing import parse
from trainer.spec import TrainingSpec

RATE = 0.01
BATCH_SIZES = {100: 10, 500: 25, 4000: 50}
"""Images in a step, by the number of labels: fewer images are seen in smaller batches, or there would be few steps."""

ALL = tuple(BATCH_SIZES)
FULL = (4000,)
MANY = (500, 4000)

BASELINE = "baseline"
DEPTH = "batch norm at depth"
CONSTANT_RATE = "constant rate"
DEEP_BASE = "deep, he"
RESIDUAL_BASE = "residual, he"

CONVNET = {"kind": "convnet", "channels": [16, 32], "batch_norm": {}, "initialization": {"kind": "he"}}
DEEP: Mapping[str, Any] = {"kind": "mlp", "hidden": [64] * 10}
STARTS: Mapping[str, dict[str, Any]] = {
    "he": {"kind": "he"},
    "weights of std 0.01": {"kind": "small_random", "std": 0.01},
    "weights of std 1": {"kind": "small_random", "std": 1.0},
}
"""How the deep network starts, with batch norm and without: as it should, with too little, and with too much."""
OTHER_STARTS: Mapping[str, dict[str, Any]] = {
    "constant weights": {"kind": "constant"},
    "xavier": {"kind": "xavier"},
    "orthogonal": {"kind": "orthogonal", "gain": 1.414},
    "random_walk": {"kind": "random_walk"},
    "lsuv": {"kind": "lsuv", "images": min(ALL)},
    "data_dependent": {"kind": "data_dependent", "images": min(ALL)},
}
"""How it starts beside these, without batch norm."""

BRANCH = [{"kind": "convolution", "channels": 8, "padding": 1}, {"kind": "activation"}]
BLOCK = [{"kind": "residual", "branch": [*BRANCH, BRANCH[0]]}, {"kind": "activation"}]
RESIDUAL: Mapping[str, Any] = {
    "kind": "layers",
    "layers": [{**BRANCH[0], "stride": 2}, BRANCH[1], *BLOCK * 12, {"kind": "global_average_pool"}],
}
"""26 layers with weights: twelve residual blocks of 8 channels on 14×14 pixels."""


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
        Variant(CONSTANT_RATE, "schedules", _schedule("constant"), quick=True),
        Variant("step", "schedules", _schedule("step", factor=0.1, every=epochs // 3)),
        Variant("multistep", "schedules", _schedule("multistep", after=[epochs // 2, epochs * 3 // 4])),
        Variant("exponential", "schedules", _schedule("exponential", k=4.6 / epochs)),
        Variant("inverse_time", "schedules", _schedule("inverse_time", k=9 / epochs)),
        Variant("polynomial", "schedules", _schedule("polynomial", power=2.0)),
        Variant("linear", "schedules", _schedule("linear")),
        Variant("cosine_restarts", "schedules", _schedule("cosine_restarts", first=epochs // 4, factor=3)),
        Variant("snapshot_cycles, last model", "schedules", _schedule("snapshot_cycles", cycles=4)),
        Variant("triangular", "schedules", _schedule("triangular", RATE / 10, maximum=RATE, half=epochs / 8)),
        Variant("one_cycle", "schedules", _schedule("one_cycle", RATE / 10, maximum=RATE)),
        Variant("cosine, by epoch", "schedules", _schedule("cosine", clock="epoch")),
        Variant("plateau", "schedules", _schedule("plateau", factor=0.3, patience=2)),
        Variant("warm-up, then cosine", "schedules", _schedule("cosine", warmup={"epochs": 2})),
        # Inside the network.
        Variant("without batch norm", "batch norm", _network(batch_norm=None), quick=True),
        Variant("dropout 0.5", "dropout", _network(dropout={"drop": 0.5}), quick=True),
        Variant("dropout 0.5, classic", "dropout", _network(dropout={"drop": 0.5, "form": "classic"})),
        # Preprocessing and augmentation.
        Variant("raw images", "images", {"preprocessing": {"centre": "none", "scale": False}}),
        Variant("per_pixel", "images", {"preprocessing": {"centre": "per_pixel"}}),
        Variant("pca whitening", "images", _whitening("pca", 0.1)),
        Variant("zca whitening", "images", _whitening("zca", 0.1)),
        Variant("random crop", "images", _augmentation(kind="random_crop", padding=2), quick=True),
        Variant("flip", "images", _augmentation(kind="horizontal_flip")),
        Variant("colour jitter", "images", _augmentation(kind="color_jitter", brightness=0.4, contrast=0.4)),
        Variant("cutout", "images", _augmentation(kind="cutout", size=8, fill="black")),
        Variant("mixup", "images", _augmentation(kind="mixup", alpha=0.2), quick=True),
        # Loss and penalties.
        Variant("label smoothing 0.1", "loss", {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}}, quick=True),
        Variant("weight decay 0.0005", "loss", _regularization(weight_decay=5e-4), quick=True),
        Variant("decoupled decay 0.05", "loss", _regularization(decoupled_weight_decay=0.05)),
        Variant("l1 0.0001", "loss", _regularization(l1=1e-4)),
        Variant("max-norm 3", "loss", _regularization(max_norm=3.0)),
        Variant("gradient clipping 1", "loss", _regularization(gradient_clipping={"norm": 1.0})),
        # Ensembles.
        Variant("snapshot ensemble", "ensembles", _snapshots(cycles=4, last=3), quick=True),
        Variant("independent, 4 members", "ensembles", _ensemble(kind="independent", members=4)),
        Variant(
            "constant rate, swa",
            "ensembles",
            {**_schedule("constant"), **_ensemble(kind="swa", start=epochs // 2)},
            quick=True,
            against=CONSTANT_RATE,
        ),
        Variant(
            "constant rate, ema",
            "ensembles",
            {**_schedule("constant"), **_ensemble(kind="ema", decay=0.98)},
            against=CONSTANT_RATE,
        ),
        # Each of the three trainings is as long as the baseline's; a quarter of the weights is left.
        Variant(
            "lottery ticket",
            "pruning",
            {"pruning": {"kind": "lottery_ticket", "rounds": 2, "rate": 0.5}, "epochs": 3 * epochs},
        ),
        *_starts(),
        *_residual(),
    )


def _sgd(momentum: dict[str, Any], rate: float) -> dict[str, Any]:
    return _optimizer(rate, kind="sgd", momentum=momentum)


def _optimizer(rate: float, **optimizer: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, **_schedule("cosine", rate)}


def _schedule(kind: str, rate: float = RATE, **fields: Any) -> dict[str, Any]:
    return {"schedule": {"kind": kind, "learning_rate": rate, **fields}}


def _network(**changes: Any) -> dict[str, Any]:
    return {"network": {**CONVNET, **changes}}


def _whitening(kind: str, epsilon: float) -> dict[str, Any]:
    return {"preprocessing": {"centre": "per_pixel", "whitening": {"kind": kind, "epsilon": epsilon}}}


def _augmentation(**change: Any) -> dict[str, Any]:
    return {"augmentation": [change]}


def _regularization(**fields: Any) -> dict[str, Any]:
    return {"regularization": fields}


def _ensemble(**fields: Any) -> dict[str, Any]:
    return {"ensemble": fields}


def _snapshots(cycles: int, last: int) -> dict[str, Any]:
    return {**_schedule("snapshot_cycles", cycles=cycles), **_ensemble(kind="snapshots", last=last)}


def _starts() -> Iterator[Variant]:
    """A perceptron of ten hidden layers, however it starts; with batch norm too where `STARTS` has the start."""
    for start, initialization in {**STARTS, **OTHER_STARTS}.items():
        name, network = f"deep, {start}", {**DEEP, "initialization": initialization}
        against = None if name == DEEP_BASE else DEEP_BASE
        yield Variant(name, "initialisations", {"network": network}, quick=True, against=against)
    for start, initialization in STARTS.items():
        name, network = f"deep, {start}", {**DEEP, "initialization": initialization, "batch_norm": {}}
        yield Variant(f"{name}, batch norm", DEPTH, {"network": network}, quick=True, against=name, labels=FULL)


def _residual() -> Iterator[Variant]:
    """A deep residual network, without batch norm, with Fixup in its place, and with it, at five times the rate.

    Of 100 images the one that learns slowly learns nothing in so few steps.
    """
    networks: Mapping[str, dict[str, Any]] = {
        RESIDUAL_BASE: {},
        "residual, fixup": {"initialization": {"kind": "fixup"}},
        "residual, he, batch norm": {"batch_norm": {}},
    }
    for name, change in networks.items():
        against = None if name == RESIDUAL_BASE else RESIDUAL_BASE
        changes = {"network": {**RESIDUAL, **change}, **_schedule("cosine", 5 * RATE)}
        yield Variant(name, "residual networks", changes, against=against, labels=MANY)
