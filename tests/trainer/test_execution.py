"""Precision, memory layout, compiling and determinism: what they change in a training, and what they must not."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.specs import spec
from tests.trainer.test_train import TINY, bits, of, on_device, results, run, stopped, tiny
from trainer import execution, snapshot
from trainer.device import algorithms, computes_in
from trainer.errors import ExecutionUnavailable
from trainer.evaluate import log_probabilities, scores
from trainer.events import CheckpointReady, Event, SnapshotTaken, StepsFinished, TrainingStarted
from trainer.execution import Executor
from trainer.optimizer import Updates
from trainer.schedule import learning_rate
from trainer.spec import Execution

CPU = torch.device("cpu")
CONVNET = {"kind": "convnet", "channels": [3], "batch_norm": {}, "dropout": {"drop": 0.3}}

OVERFLOWING: dict[str, Any] = {
    "preprocessing": {"centre": "none", "scale": False},
    "schedule": {"kind": "snapshot_cycles", "learning_rate": 1.0e-5, "cycles": 2},
}
"""Values up to 255 make gradients that the first scale of a loss, 65,536, takes beyond float16."""

GRID: list[dict[str, Any]] = [
    {"execution": {"precision": "bfloat16"}, "network": CONVNET},
    {"execution": {"precision": "float16"}, "network": CONVNET},
    {"execution": {"precision": "float16"}, **OVERFLOWING},
    {
        "execution": {"precision": "float16"},
        "optimizer": {"kind": "sgd", "momentum": {"form": "averaged", "start": "gradient"}},
        "regularization": {"decoupled_weight_decay": 0.1, "max_norm": 0.5, "gradient_clipping": {"norm": 0.5}},
        **OVERFLOWING,
    },
    {"execution": {"memory_format": "contiguous"}, "network": CONVNET},
    {"execution": {"memory_format": "channels_last"}, "network": CONVNET},
]

UPDATES: list[dict[str, Any]] = [
    {"optimizer": {"kind": "sgd", "momentum": {"form": "classical"}}},
    {"optimizer": {"kind": "sgd", "momentum": {"form": "averaged", "start": "gradient"}}},
    {"optimizer": {"kind": "adagrad"}},
    {"optimizer": {"kind": "rmsprop"}},
    {"optimizer": {"kind": "adamw"}},
    {
        "optimizer": {"kind": "sgd", "momentum": {"form": "none"}},
        "regularization": {"decoupled_weight_decay": 0.1, "l1": 0.1, "max_norm": 0.1, "gradient_clipping": {"norm": 1}},
    },
]


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let half precision through where the hardware emulates it, slowly."""
    monkeypatch.setattr(execution, "computes_in", lambda *_: True)


def weights(events: Sequence[Event]) -> dict[str, Tensor]:
    """Of the last snapshot."""
    return dict(of(SnapshotTaken, events)[-1].weights)


def environment(events: Sequence[Event]) -> dict[str, str]:
    return dict(of(TrainingStarted, events)[0].environment)


@pytest.mark.parametrize(("precision", "other"), [("bfloat16", "float16"), ("float16", "bfloat16")])
def test_a_precision_that_the_hardware_lacks_is_refused_with_reason_and_remedy(
    precision: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "computes_in", lambda _, wanted: wanted != precision)

    with pytest.raises(ExecutionUnavailable, match=f"{precision}, and this CPU has no fast arithmetic in it") as caught:
        run(tiny(execution={"precision": precision}))

    assert f"Set execution.precision to float32 or {other}" in (caught.value.hint or "")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_this_cpu_has_no_arithmetic_in_is_refused_and_nothing_else(
    precision: Literal["bfloat16", "float16"],
) -> None:
    chosen = tiny(epochs=2, execution={"precision": precision})

    if computes_in(CPU, precision):
        assert len(of(SnapshotTaken, run(chosen))) == 2
    else:
        with pytest.raises(ExecutionUnavailable):
            run(chosen)


def test_bfloat16_through_float32_is_not_counted_as_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})

    assert not computes_in(CPU, "bfloat16")


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize(("precision", "epsilon"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_products_are_computed_in_half_precision_and_the_rest_in_float32(
    precision: Literal["bfloat16", "float16"], epsilon: float
) -> None:
    draws = torch.Generator().manual_seed(1)
    images, labels = torch.randn(6, 50, generator=draws), torch.arange(6) % 4
    model = nn.Linear(50, 4, bias=False)
    nn.init.normal_(model.weight, generator=draws)
    seen: list[torch.dtype] = []
    model.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    kind = getattr(torch, precision)
    executor = Executor(model, Execution(precision=precision), CPU, 6)

    logits = executor.logits(images)
    executor.backward(functional.cross_entropy(logits, labels))

    expected = images.to(kind).double() @ model.weight.detach().to(kind).double().T
    assert seen == [kind]
    assert logits.dtype == torch.float32
    assert torch.allclose(logits.detach().double(), expected, rtol=epsilon, atol=epsilon)
    assert not torch.equal(logits, images @ model.weight.T)
    assert model.weight.dtype == torch.float32
    assert model.weight.grad is not None
    assert model.weight.grad.dtype == torch.float32


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": CONVNET, "regularization": {"gradient_clipping": {"norm": 0.5}, "l1": 0.001}},
        {"preprocessing": {"centre": "per_pixel", "whitening": {"kind": "zca", "epsilon": 0.1}}},
    ],
    ids=["mlp", "convnet", "whitened"],
)
def test_half_precision_trains_as_float32_does_within_its_rounding(
    precision: str, tolerance: float, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No step is skipped from this scale on: what comes after it would be another training.
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=1024.0))
    # A step of a size that does not depend on the gradient's would hide a scale that is left in it.
    settings = {"optimizer": {"kind": "sgd", "momentum": {"form": "none"}}, **changes}
    full = run(tiny(**settings))
    rough = run(tiny(execution={"precision": precision}, **settings))

    losses, expected = ([loss for event in of(StepsFinished, one) for loss in event.losses] for one in (rough, full))
    assert losses != expected
    assert losses == pytest.approx(expected, rel=tolerance)
    assert {tensor.dtype for tensor in weights(rough).values()} <= {torch.float32, torch.int64}


@pytest.mark.usefixtures("half")
def test_scores_are_those_of_the_snapshot_in_float32(tmp_path: Path) -> None:
    (*_, taken) = of(SnapshotTaken, run(tiny(execution={"precision": "bfloat16"}, network=CONVNET)))
    snapshot.write(tmp_path / "file", taken.weights, taken.provenance)

    model, provenance = snapshot.load(tmp_path / "file")

    predicted = log_probabilities(model, torch.tensor(TINY.validation.images))
    assert provenance["environment"]["precision"] == "bfloat16"
    assert taken.scores.negative_log_likelihood == pytest.approx(
        scores(predicted, torch.tensor(TINY.validation.labels)).negative_log_likelihood, rel=1e-6
    )


def overflow(executor: Executor, updates: Updates, images: Tensor) -> None:
    updates.zero_grad()
    executor.backward(1e4 * executor.logits(images).sum())
    executor.update(updates, 0.1)


def step(executor: Executor, updates: Updates, images: Tensor) -> None:
    updates.zero_grad()
    executor.backward(functional.cross_entropy(executor.logits(images), torch.arange(len(images)) % 4))
    executor.update(updates, 0.1)


def linear() -> tuple[nn.Module, Tensor]:
    draws = torch.Generator().manual_seed(1)
    model = nn.Linear(8, 4)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=draws)
    return model, torch.randn(6, 8, generator=draws)


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("changes", UPDATES, ids=lambda changes: changes["optimizer"]["kind"])
def test_a_step_whose_gradients_overflow_changes_nothing_but_the_scale(changes: dict[str, Any]) -> None:
    chosen = spec(execution={"precision": "float16"}, **changes)
    model, images = linear()
    executor = Executor(model, chosen.execution, CPU, 6)
    updates = Updates(model, chosen.optimizer, chosen.regularization)
    before, state = bits(model.state_dict()), bits(updates.state())

    overflow(executor, updates, images)

    assert bits(model.state_dict()) == before
    assert bits(updates.state()) == state
    assert executor.state()["scale"] == 65536 / 2
    assert executor.state()["_growth_tracker"] == 0

    step(executor, updates, images)

    other, _ = linear()
    undisturbed = Executor(other, chosen.execution, CPU, 6)
    undisturbed.restore({**undisturbed.state(), "scale": 65536.0 / 2})
    step(undisturbed, Updates(other, chosen.optimizer, chosen.regularization), images)
    assert bits(model.state_dict()) == bits(other.state_dict())
    assert bits(model.state_dict()) != before


@pytest.mark.usefixtures("half")
def test_scaled_steps_are_those_of_torchs_own_recipe() -> None:
    chosen = spec(execution={"precision": "float16"}, optimizer={"kind": "sgd", "momentum": {"form": "classical"}})
    model, images = linear()
    executor, updates = (
        Executor(model, chosen.execution, CPU, 6),
        Updates(model, chosen.optimizer, chosen.regularization),
    )
    other, _ = linear()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu")

    for size in (1.0, 1e6, 1.0, 2.0):
        updates.zero_grad()
        executor.backward(size * functional.cross_entropy(executor.logits(images), torch.arange(6) % 4))
        executor.update(updates, 0.1)

        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            logits = other(images)
        scaler.scale(size * functional.cross_entropy(logits.float(), torch.arange(6) % 4)).backward()
        scaler.step(optimizer)
        scaler.update()

    assert scaler.get_scale() == executor.state()["scale"] == 65536 / 2
    for found, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("half")
def test_the_scale_doubles_after_2000_steps_without_overflow() -> None:
    chosen = spec(execution={"precision": "float16"})
    model, images = linear()
    executor, updates = (
        Executor(model, chosen.execution, CPU, 6),
        Updates(model, chosen.optimizer, chosen.regularization),
    )
    executor.restore({**executor.state(), "scale": 8.0, "_growth_tracker": 1998})

    scales = []
    for _ in range(3):
        step(executor, updates, images)
        scales.append(executor.state()["scale"])

    assert scales == [8, 16, 16]


@pytest.mark.usefixtures("half")
def test_skipped_steps_are_counted_and_the_schedule_goes_on() -> None:
    chosen = tiny(execution={"precision": "float16"}, **OVERFLOWING)

    events = run(chosen)

    scales = [event.facts["executor"]["scale"] for event in of(CheckpointReady, events)]
    rates = [rate for event in of(StepsFinished, events) for rate in event.learning_rates]
    assert scales[0] < 65536
    assert rates == [learning_rate(chosen.schedule, step // 3 + step % 3 / 3, 4) for step in range(12)]
    assert of(SnapshotTaken, events)[-1].step == 12


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("changes", GRID)
def test_a_training_that_was_stopped_anywhere_ends_with_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    chosen = tiny(**changes)
    whole = results(run(chosen))
    assert results(run(chosen)) == whole

    for stop_after in (0, 1, 4, 11):
        first, going_on = stopped(chosen, stop_after, tmp_path)
        assert results(first) + results(run(chosen, resume=going_on)) == whole, stop_after


def test_auto_is_channels_last_for_convolutions() -> None:
    events = run(tiny(network=CONVNET))

    assert environment(events)["memory_format"] == "channels_last"
    chosen = run(tiny(network=CONVNET, execution={"memory_format": "channels_last"}))
    assert bits(weights(events)) == bits(weights(chosen))
    assert environment(run(tiny()))["memory_format"] == "contiguous"


def test_both_layouts_train_alike() -> None:
    network = {"kind": "convnet", "channels": [3, 4], "batch_norm": {}}
    one, other = (
        run(tiny(network=network, execution={"memory_format": kind})) for kind in ("channels_last", "contiguous")
    )

    for name, found in weights(one).items():
        assert torch.allclose(found, weights(other)[name], rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("quicker", ["channels_last", "contiguous"])
def test_timing_chooses_the_quicker_layout_and_changes_no_bit(quicker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []
    seconds = execution._seconds

    def timing(model: nn.Module, kind: Any, *rest: Any) -> float:
        timed.append(kind)
        assert seconds(model, kind, *rest) > 0
        return 1.0 if kind == quicker else 2.0

    monkeypatch.setattr(execution, "_seconds", timing)
    events = run(tiny(network=CONVNET, execution={"deterministic": False}))

    assert sorted(timed) == ["channels_last", "contiguous"]
    assert environment(events)["memory_format"] == quicker
    told = run(tiny(network=CONVNET, execution={"deterministic": False, "memory_format": quicker}))
    assert len(timed) == 2
    assert bits(weights(events)) == bits(weights(told))


def test_the_environment_tells_how_steps_are_computed() -> None:
    found = environment(run(tiny(execution={"deterministic": False})))

    assert {name: found[name] for name in ("precision", "memory_format", "compile", "deterministic")} == {
        "precision": "float32",
        "memory_format": "contiguous",
        "compile": "false",
        "deterministic": "false",
    }


@pytest.mark.parametrize("deterministic", [True, False])
def test_torch_may_use_any_algorithm_only_where_the_spec_lets_it_and_while_it_trains(deterministic: bool) -> None:
    before = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark

    with algorithms(deterministic=deterministic):
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.benchmark != deterministic

    assert (torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark) == before


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """What the compiler keeps of a test is gone after it."""
    yield
    torch.compiler.reset()


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_training_draws_and_learns_as_an_eager_one_and_goes_on_to_the_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"network": {"kind": "mlp", "hidden": [5], "dropout": {"drop": 0.3}}}
    eager = run(tiny(**settings))
    chosen = tiny(**settings, execution={"compile": True})

    compiled = run(chosen)

    assert environment(compiled)["compile"] == "true"
    for name, found in weights(compiled).items():
        assert torch.allclose(found, weights(eager)[name], rtol=1e-4, atol=1e-6), name
    first, going_on = stopped(chosen, 4, tmp_path)
    assert results(first) + results(run(chosen, resume=going_on)) == results(compiled)


def test_compiling_without_a_compiler_is_refused_with_reason_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))

    with pytest.raises(ExecutionUnavailable, match="needs a C\\+\\+ compiler, and there is none here") as caught:
        run(tiny(execution={"compile": True}))

    assert caught.value.hint == "Install g++ where the training runs, or set execution.compile to false."


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [*GRID, {"execution": {"compile": True}, "network": CONVNET}])
def test_the_same_spec_gives_the_same_bits_on_a_gpu(changes: dict[str, Any]) -> None:
    assert on_device(tiny(**changes), "cuda") == on_device(tiny(**changes), "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_a_gpu_learns_in_half_precision_what_it_learns_in_float32(precision: str, tolerance: float) -> None:
    found = on_device(tiny(execution={"precision": precision}), "cuda")

    assert found == pytest.approx(on_device(tiny(), "cuda"), rel=tolerance)
