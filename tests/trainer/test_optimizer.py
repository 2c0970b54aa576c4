"""Updates against their formulas over ten steps, worked out in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.specs import spec
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
