"""Updates against their formulas over ten steps, worked out in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.specs import spec
from trainer import regularize
from trainer.optimizer import Updates
from trainer.spec import Regularization

STEPS, RATE = 10, 0.3

Rule = Callable[[float, float, float, int], tuple[float, float]]


def gradients() -> list[float]:
    return [0.5, -1.0, 2.0, 0.25, 0.0, -0.75, 1.5, 1.0, -2.0, 0.125]


def trained(momentum: dict[str, object], rates: list[float] | None = None, **decay: object) -> list[float]:
    """The path of one weight whose gradients are given."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    chosen = spec(optimizer={"kind": "sgd", "momentum": momentum}).optimizer
    updates = Updates(model, chosen, Regularization.model_validate(decay))
    path = []
    for step, gradient in enumerate(gradients()):
        model.weight.grad = torch.full_like(model.weight, gradient)
        updates.step(rates[step] if rates else RATE)
        path.append(model.weight.item())
    return path


def worked_out(rule: Rule, rates: list[float] | None = None, decay: float = 0.0) -> list[float]:
    x, v, path = 1.0, 0.0, []
    for step, gradient in enumerate(gradients()):
        v, move = rule(v, gradient + decay * x, x, step)
        x -= (rates[step] if rates else RATE) * move
        path.append(x)
    return path


def averaged(v: float, dx: float, _x: float, _step: int, b: float = 0.1) -> tuple[float, float]:
    v = (1 - b) * v + b * dx
    return v, v


def averaged_from_gradient(v: float, dx: float, x: float, step: int) -> tuple[float, float]:
    return (dx, dx) if step == 0 else averaged(v, dx, x, step)


def classical(v: float, dx: float, _x: float, _step: int, m: float = 0.9) -> tuple[float, float]:
    v = m * v + dx
    return v, v


def nesterov(v: float, dx: float, _x: float, _step: int, m: float = 0.9) -> tuple[float, float]:
    v = m * v + dx
    return v, dx + m * v


def plain(_v: float, dx: float, _x: float, _step: int) -> tuple[float, float]:
    return 0.0, dx


FORMS: list[tuple[dict[str, object], Rule]] = [
    ({"form": "none"}, plain),
    ({"form": "averaged", "b": 0.1}, averaged),
    ({"form": "averaged", "b": 0.1, "start": "gradient"}, averaged_from_gradient),
    ({"form": "averaged", "b": 1.0}, plain),
    ({"form": "classical", "m": 0.9}, classical),
    ({"form": "classical", "m": 0.0}, plain),
    ({"form": "nesterov", "m": 0.9}, nesterov),
]


@pytest.mark.parametrize(("momentum", "rule"), FORMS)
def test_each_momentum_form_follows_its_formula(momentum: dict[str, object], rule: Rule) -> None:
    assert trained(momentum) == pytest.approx(worked_out(rule), rel=1e-5)


@pytest.mark.parametrize(("momentum", "rule"), FORMS)
def test_each_form_follows_its_formula_while_the_rate_changes(momentum: dict[str, object], rule: Rule) -> None:
    rates = [RATE / (step + 1) for step in range(STEPS)]

    assert trained(momentum, rates) == pytest.approx(worked_out(rule, rates), rel=1e-5)


def test_the_two_starts_of_the_averaged_form_differ_by_the_first_gradient() -> None:
    zero = trained({"form": "averaged", "b": 0.1})
    gradient = trained({"form": "averaged", "b": 0.1, "start": "gradient"})

    assert zero[0] == pytest.approx(1 - RATE * 0.1 * 0.5)
    assert gradient[0] == pytest.approx(1 - RATE * 0.5)


def test_the_averaged_form_started_at_the_gradient_is_torch_with_dampening() -> None:
    weight = torch.ones(1, requires_grad=True)
    reference = torch.optim.SGD([weight], lr=RATE, momentum=0.9, dampening=0.9)
    path = []
    for gradient in gradients():
        weight.grad = torch.full_like(weight, gradient)
        reference.step()
        path.append(weight.item())

    assert trained({"form": "averaged", "b": 0.1, "start": "gradient"}) == pytest.approx(path, rel=1e-6)


def test_weight_decay_is_added_to_the_gradient() -> None:
    momentum: dict[str, object] = {"form": "classical", "m": 0.9}

    assert trained(momentum, weight_decay=0.1) == pytest.approx(worked_out(classical, decay=0.1), rel=1e-5)


def decayed(model: nn.Module, **settings: object) -> dict[str, bool]:
    """Which parameters shrink when their gradients are zero."""
    updates = Updates(
        model,
        spec(optimizer={"kind": "sgd", "momentum": {"form": "none"}}).optimizer,
        Regularization.model_validate({"weight_decay": 0.5, **settings}),
    )
    before: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
        before[name] = parameter.detach().clone()
    updates.step(RATE)
    return {name: not torch.equal(item, before[name]) for name, item in model.named_parameters()}


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))


def test_biases_and_batch_norm_do_not_decay_by_default() -> None:
    decays = {name for name, shrinks in decayed(layers()).items() if shrinks}

    assert decays == {"0.weight", "3.weight"}


def test_biases_and_batch_norm_decay_when_asked() -> None:
    assert all(decayed(layers(), decay_biases_and_norms=True).values())


def test_one_step_on_a_linear_model_is_the_update_worked_out_by_hand() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, -0.2], [0.3, 0.4]]))
        model.bias.zero_()
    x, label = torch.tensor([[1.0, 2.0]]), 0
    logits = model.weight.detach() @ x[0]
    p = torch.softmax(logits, 0)
    error = p - torch.tensor([1.0, 0.0])
    expected = model.weight.detach() - RATE * torch.outer(error, x[0])

    updates = Updates(model, spec(optimizer={"kind": "sgd", "momentum": {"form": "none"}}).optimizer, Regularization())
    nn.functional.cross_entropy(model(x), torch.tensor([label])).backward()
    updates.step(RATE)

    assert torch.allclose(model.weight, expected, atol=1e-6)
    assert torch.allclose(model.bias, -RATE * error, atol=1e-6)


Weights = dict[str, Tensor]
Move = Callable[[Weights, Tensor, int], Tensor]
"""From the state, the gradient and the number of the step to what is multiplied by the rate and taken off."""

RATES = [0.1 / (1 + step / 4) for step in range(STEPS)]


def drawn_gradients() -> list[Tensor]:
    draws = torch.Generator().manual_seed(3)
    return [torch.randn(2, 3, generator=draws, dtype=torch.float64) for _ in range(STEPS)]


def first_weights() -> Tensor:
    return torch.tensor([[0.9, -0.4, 0.05], [-1.2, 0.3, 0.0]], dtype=torch.float64)


def updated(optimizer: dict[str, object], **regularization: object) -> list[Tensor]:
    """The path of one weight matrix in float64 under given gradients."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False)).double()
    weight = next(model.parameters())
    with torch.no_grad():
        weight.copy_(first_weights())
    updates = Updates(model, spec(optimizer=optimizer).optimizer, spec(regularization=regularization).regularization)
    path = []
    for gradient, rate in zip(drawn_gradients(), RATES, strict=True):
        weight.grad = gradient.clone()
        updates.step(rate)
        path.append(weight.detach().clone())
    return path


def by_formula(
    move: Move,
    *,
    l2: float = 0.0,
    l1: float = 0.0,
    decoupled: float = 0.0,
    max_norm: float | None = None,
    factor: float = 1.0,
) -> list[Tensor]:
    x, state, path = first_weights(), {}, []
    for step, (gradient, rate) in enumerate(zip(drawn_gradients(), RATES, strict=True), start=1):
        dx = gradient + l1 * x.sign()
        x = x - factor * rate * decoupled * x if decoupled else x
        # Where decay stands beside the gradient there is no L2, which would see the decayed weight.
        x = x - factor * rate * move(state, dx + l2 * x, step)
        if max_norm is not None:
            lengths = x.square().sum(1, keepdim=True).sqrt()
            x = torch.where(lengths > max_norm, x * max_norm / lengths, x)
        path.append(x)
    return path


def assert_equal_paths(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=tolerance, atol=tolerance)


def plain_move(_state: Weights, dx: Tensor, _step: int) -> Tensor:
    return dx


def classical_move(state: Weights, dx: Tensor, _step: int) -> Tensor:
    state["v"] = 0.9 * state.get("v", 0) + dx
    return state["v"]


def adagrad(start: float = 0.0, epsilon: float = 1e-10) -> Move:
    def move(state: Weights, dx: Tensor, _step: int) -> Tensor:
        state["s"] = state.get("s", start) + dx**2
        return dx / (state["s"].sqrt() + epsilon)

    return move


def rmsprop(alpha: float = 0.99, epsilon: float = 1e-8, momentum: float = 0.0, centered: bool = False) -> Move:
    def move(state: Weights, dx: Tensor, _step: int) -> Tensor:
        state["s"] = alpha * state.get("s", 0) + (1 - alpha) * dx**2
        state["g"] = alpha * state.get("g", 0) + (1 - alpha) * dx
        spread = state["s"] - state["g"] ** 2 if centered else state["s"]
        state["v"] = momentum * state.get("v", 0) + dx / (spread.sqrt() + epsilon)
        return state["v"]

    return move


def adam(beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, amsgrad: bool = False) -> Move:
    def move(state: Weights, dx: Tensor, step: int) -> Tensor:
        state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * dx
        state["s"] = beta2 * state.get("s", 0) + (1 - beta2) * dx**2
        state["top"] = torch.maximum(state.get("top", torch.zeros_like(dx)), state["s"])
        square = (state["top"] if amsgrad else state["s"]) / (1 - beta2**step)
        return state["m"] / (1 - beta1**step) / (square.sqrt() + epsilon)

    return move


PLAIN: dict[str, object] = {"kind": "sgd", "momentum": {"form": "none"}}
ADAPTIVE: list[tuple[dict[str, object], Move]] = [
    ({"kind": "adagrad"}, adagrad()),
    ({"kind": "adagrad", "start": 0.5, "epsilon": 0.01}, adagrad(0.5, 0.01)),
    ({"kind": "rmsprop"}, rmsprop()),
    ({"kind": "rmsprop", "alpha": 0.9, "epsilon": 0.01}, rmsprop(0.9, 0.01)),
    ({"kind": "rmsprop", "momentum": 0.8, "centered": True}, rmsprop(momentum=0.8, centered=True)),
    ({"kind": "adam"}, adam()),
    ({"kind": "adam", "beta1": 0.5, "beta2": 0.9, "epsilon": 0.01}, adam(0.5, 0.9, 0.01)),
    ({"kind": "adam", "beta2": 0.5, "amsgrad": True}, adam(beta2=0.5, amsgrad=True)),
]
ONE_OF_EACH: list[tuple[dict[str, object], Move]] = [
    (PLAIN, plain_move),
    ({"kind": "sgd"}, classical_move),
    ({"kind": "adagrad"}, adagrad()),
    ({"kind": "rmsprop"}, rmsprop()),
    ({"kind": "adam"}, adam()),
]


@pytest.mark.parametrize(("optimizer", "move"), ADAPTIVE)
def test_each_adaptive_optimizer_follows_its_formula(optimizer: dict[str, object], move: Move) -> None:
    assert_equal_paths(updated(optimizer), by_formula(move))


def test_adamw_decays_weights_beside_the_gradient() -> None:
    assert_equal_paths(updated({"kind": "adamw", "weight_decay": 0.3}), by_formula(adam(), decoupled=0.3))


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("adagrad", torch.optim.Adagrad),
        ("rmsprop", torch.optim.RMSprop),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
    ],
)
def test_defaults_are_those_of_torch(kind: str, reference: type[torch.optim.Optimizer]) -> None:
    weight = nn.Parameter(first_weights())
    optimizer = reference([weight])  # type: ignore[call-arg]
    path = []
    for gradient, rate in zip(drawn_gradients(), RATES, strict=True):
        weight.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        path.append(weight.detach().clone())

    assert_equal_paths(updated({"kind": kind}), path)


@pytest.mark.parametrize(("optimizer", "move"), ONE_OF_EACH)
def test_l2_is_added_to_the_gradient(optimizer: dict[str, object], move: Move) -> None:
    assert_equal_paths(updated(optimizer, weight_decay=0.2), by_formula(move, l2=0.2))


@pytest.mark.parametrize(("optimizer", "move"), ONE_OF_EACH)
def test_l1_adds_the_sign_of_the_weight_to_the_gradient(optimizer: dict[str, object], move: Move) -> None:
    assert_equal_paths(updated(optimizer, l1=0.2), by_formula(move, l1=0.2))


@pytest.mark.parametrize(("optimizer", "move"), ONE_OF_EACH)
def test_decoupled_decay_takes_its_share_beside_the_update(optimizer: dict[str, object], move: Move) -> None:
    assert_equal_paths(updated(optimizer, decoupled_weight_decay=0.3), by_formula(move, decoupled=0.3))


def test_adam_with_decoupled_decay_is_adamw() -> None:
    adamw = updated({"kind": "adamw", "weight_decay": 0.3})

    assert_equal_paths(updated({"kind": "adam"}, decoupled_weight_decay=0.3), adamw)


@pytest.mark.parametrize(("optimizer", "move"), ONE_OF_EACH)
def test_weights_longer_than_the_limit_are_cut_after_the_update(optimizer: dict[str, object], move: Move) -> None:
    path = updated(optimizer, max_norm=1.0)

    assert_equal_paths(path, by_formula(move, max_norm=1.0), 1e-5)
    assert max(float(weights.norm(dim=1).max()) for weights in path) <= 1
    assert not torch.allclose(path[-1], updated(optimizer)[-1])


def test_a_filters_weights_are_limited_together_and_biases_not_at_all() -> None:
    model = layers()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 5.0)
        parameter.grad = torch.zeros_like(parameter)

    Updates(model, spec(optimizer=PLAIN).optimizer, Regularization(max_norm=3.0)).step(RATE)

    assert torch.allclose(model[0].weight, torch.ones(2, 1, 3, 3))
    assert torch.allclose(model[3].weight.square().sum(1), torch.full((2,), 9.0))
    assert all(torch.equal(item, torch.full_like(item, 5.0)) for item in (model[0].bias, *model[1].parameters()))


def clipped(gradients: list[float], norm: float, **regularization: object) -> list[float]:
    """What one step of rate 1 takes off two parameters, a weight and a bias, that start at 2."""
    model = nn.Linear(1, 1).double()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        nn.init.constant_(parameter, 2.0)
        parameter.grad = torch.full_like(parameter, gradient)
    rules = Regularization.model_validate({"gradient_clipping": {"norm": norm}, **regularization})

    Updates(model, spec(optimizer=PLAIN).optimizer, rules).step(1.0)

    return [2 - parameter.item() for parameter in model.parameters()]


def test_a_gradient_longer_than_the_limit_is_scaled_to_it_as_a_whole() -> None:
    assert clipped([30.0, 40.0], 5.0) == pytest.approx([3.0, 4.0], rel=1e-6)


def test_a_gradient_within_the_limit_stays_as_it_is() -> None:
    assert clipped([0.3, 0.4], 5.0) == pytest.approx([0.3, 0.4], rel=1e-12)


@pytest.mark.parametrize("penalty", [{"weight_decay": 0.5}, {"decoupled_weight_decay": 0.5}, {"l1": 1.0}])
def test_penalties_are_added_after_clipping(penalty: dict[str, object]) -> None:
    assert clipped([30.0, 40.0], 5.0, **penalty) == pytest.approx([3.0 + 1.0, 4.0], rel=1e-6)


@pytest.mark.parametrize("penalty", ["weight_decay", "decoupled_weight_decay", "l1"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_every_penalty_spares_biases_and_batch_norm_unless_asked(penalty: str, everywhere: bool) -> None:
    moved = decayed(layers(), weight_decay=0.0, decay_biases_and_norms=everywhere) | decayed(
        layers(), **{"weight_decay": 0.0, "decay_biases_and_norms": everywhere, penalty: 0.5}
    )

    assert {name for name, shrinks in moved.items() if shrinks} == (
        set(moved) if everywhere else {"0.weight", "3.weight"}
    )


def named_layers() -> nn.Sequential:
    model = nn.Sequential()
    for name in ("conv1", "conv2", "output"):
        model.add_module(name, nn.Linear(1, 1))
    return model


def moves(layer_rates: list[dict[str, object]], optimizer: dict[str, object] = PLAIN) -> dict[str, float]:
    """How far each parameter is moved by a gradient of one at a rate of one."""
    model = named_layers()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    updates = Updates(model, spec(optimizer=optimizer | {"layer_rates": layer_rates}).optimizer, Regularization())
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    updates.step(1.0)
    return {name: -parameter.item() for name, parameter in model.named_parameters()}


def test_named_layers_learn_at_their_own_rate() -> None:
    found = moves([{"layers": "conv2", "factor": 0.5}, {"layers": "conv*", "factor": 0.1}])

    expected = {"conv1": 0.1, "conv2": 0.5, "output": 1.0}
    assert found == pytest.approx(
        {f"{layer}.{kind}": expected[layer] for layer in expected for kind in ("weight", "bias")}
    )


@pytest.mark.parametrize("optimizer", [PLAIN, {"kind": "adam"}, {"kind": "adamw"}])
def test_a_factor_of_zero_freezes(optimizer: dict[str, object]) -> None:
    found = moves([{"layers": "conv*", "factor": 0}], optimizer)

    assert {name for name, moved in found.items() if moved} == {"output.weight", "output.bias"}


def test_a_layers_own_rate_scales_its_decoupled_decay() -> None:
    slower = {"kind": "sgd", "momentum": {"form": "none"}, "layer_rates": [{"layers": "0", "factor": 0.5}]}

    expected = by_formula(plain_move, decoupled=0.3, factor=0.5)
    assert_equal_paths(updated(slower, decoupled_weight_decay=0.3), expected)


EVERY: list[dict[str, object]] = [
    {"kind": "sgd"},
    {"kind": "adagrad"},
    {"kind": "rmsprop", "momentum": 0.9, "centered": True},
    {"kind": "adam", "amsgrad": True},
    {"kind": "adamw"},
]


def convolutional() -> nn.Sequential:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3), nn.Flatten())
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def steps(model: nn.Module, step: Callable[[], None], count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        images = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(number))
        model.zero_grad()
        nn.functional.cross_entropy(model(images), torch.tensor([0, 1] * 3)).backward()
        step()


@pytest.mark.parametrize("optimizer", EVERY)
def test_state_is_restored_to_the_bit_in_the_layout_of_the_weights(optimizer: dict[str, object]) -> None:
    chosen = spec(optimizer=optimizer).optimizer
    whole, half = convolutional(), convolutional()
    updates = Updates(whole, chosen, Regularization())
    steps(whole, lambda: updates.step(0.01), 6)

    before = Updates(half, chosen, Regularization())
    steps(half, lambda: before.step(0.01), 3)
    # As a checkpoint holds it.
    saved = {name: item.contiguous().clone() for name, item in before.state().items()}
    after = Updates(half, chosen, Regularization())
    after.restore(saved)
    steps(half, lambda: after.step(0.01), 3, first=3)

    assert saved
    assert all(map(torch.equal, whole.parameters(), half.parameters()))
    assert {name: item.stride() for name, item in after.state().items()} == {
        name: item.stride() for name, item in updates.state().items()
    }


@pytest.mark.parametrize(
    ("optimizer", "reference", "options"),
    [
        ({"kind": "sgd", "momentum": {"form": "none"}}, torch.optim.SGD, {}),
        ({"kind": "sgd"}, torch.optim.SGD, {"momentum": 0.9}),
        (
            {"kind": "sgd", "momentum": {"form": "nesterov", "m": 0.8}},
            torch.optim.SGD,
            {"momentum": 0.8, "nesterov": True},
        ),
        (
            {"kind": "sgd", "momentum": {"form": "averaged", "b": 0.2, "start": "gradient"}},
            torch.optim.SGD,
            {"momentum": 0.8, "dampening": 0.8},
        ),
        ({"kind": "adagrad"}, torch.optim.Adagrad, {}),
        ({"kind": "rmsprop"}, torch.optim.RMSprop, {}),
        (
            {"kind": "rmsprop", "momentum": 0.5, "centered": True},
            torch.optim.RMSprop,
            {"momentum": 0.5, "centered": True},
        ),
        ({"kind": "adam"}, torch.optim.Adam, {}),
        ({"kind": "adamw", "weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}),
    ],
)
def test_the_fast_updates_are_the_plain_ones(
    optimizer: dict[str, object], reference: Callable[..., torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    fast, plain = convolutional(), convolutional()
    updates = Updates(fast, spec(optimizer=optimizer).optimizer, Regularization())
    spared = [item for item in plain.parameters() if item.ndim == 1]
    weights = [item for item in plain.parameters() if item.ndim > 1]
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": weights}]
    slow = reference(groups, lr=0.01, foreach=False, **options)

    steps(fast, lambda: updates.step(0.01), 5)
    steps(plain, slow.step, 5)

    for one, other in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_weights_decay_together_as_each_would_alone_to_the_bit() -> None:
    model = convolutional()
    expected = [item.detach() * (1 - 0.3) for item in model.parameters()]

    regularize.decay(list(model.parameters()), 0.3)

    assert all(map(torch.equal, model.parameters(), expected))
