"""Both forms of dropout."""

from typing import Literal

import pytest
import torch
from torch import nn

from trainer.dropout import Dropout, reseed

CPU = torch.device("cpu")
Form = Literal["inverted", "classic"]
FORMS: list[Form] = ["inverted", "classic"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("drop", [0.2, 0.5])
def test_the_expected_output_in_training_is_the_output_at_test(form: Form, drop: float) -> None:
    dropout = Dropout(drop, form)
    units = torch.tensor([1.0, -2.0, 0.5, 4.0])
    reseed(dropout, CPU, 1, 1)

    mean = torch.stack([dropout(units) for _ in range(20_000)]).mean(0)

    dropout.eval()
    assert torch.allclose(mean, dropout(units), rtol=0.05)


@pytest.mark.parametrize(("form", "at_test", "in_training"), [("inverted", 1.0, 2.0), ("classic", 0.5, 1.0)])
def test_units_are_scaled_where_the_form_says(form: Form, at_test: float, in_training: float) -> None:
    dropout = Dropout(0.5, form)
    reseed(dropout, CPU, 1, 1)

    assert set(dropout(torch.ones(1000)).tolist()) == {0.0, in_training}
    dropout.eval()
    assert set(dropout(torch.ones(1000)).tolist()) == {at_test}


@pytest.mark.parametrize("form", FORMS)
def test_drop_is_the_share_of_units_set_to_zero(form: Form) -> None:
    dropout = Dropout(0.3, form)
    reseed(dropout, CPU, 1, 1)

    assert float((dropout(torch.ones(100_000)) == 0).float().mean()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("form", FORMS)
def test_drop_0_is_the_identity(form: Form) -> None:
    units = torch.randn(10, generator=torch.Generator().manual_seed(1))

    assert torch.equal(Dropout(0.0, form)(units), units)


def test_draws_are_a_function_of_seed_step_and_layer() -> None:
    model = nn.Sequential(Dropout(0.5, "inverted"), Dropout(0.5, "inverted"))
    units = torch.ones(2, 100)

    def drawn(seed: int, step: int) -> torch.Tensor:
        reseed(model, CPU, seed, step)
        return torch.stack([layer(units) for layer in model])

    assert torch.equal(drawn(1, 1), drawn(1, 1))
    assert not torch.equal(drawn(1, 1), drawn(1, 2))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))
    assert not torch.equal(*drawn(1, 1))


def test_training_without_draws_of_its_own_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="reseed"):
        Dropout(0.5, "inverted")(torch.ones(3))
