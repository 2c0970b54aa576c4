"""The families: their sizes as published, and what they compute."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.specs import dataset, spec
from tests.trainer.learners import learner
from trainer import dropout, networks
from trainer.build import skeleton
from trainer.initialize import initialize
from trainer.layers import table
from trainer.local_response import LocalResponseNorm
from trainer.memory import estimate
from trainer.residual import Residual
from trainer.validation.network import RESERVED_NAMES

Shape = tuple[int, int, int]

SMALL: list[tuple[dict[str, Any], Shape]] = [
    ({"kind": "alexnet", "variant": "small"}, (1, 15, 15)),
    ({"kind": "alexnet", "variant": "small", "local_response_norm": True, "batch_norm": {}}, (1, 15, 15)),
    ({"kind": "vgg", "depth": 11, "width": 4, "variant": "small"}, (1, 32, 32)),
    ({"kind": "vgg", "depth": 13, "width": 2, "padding": 2, "variant": "small", "batch_norm": {}}, (1, 28, 28)),
    ({"kind": "resnet", "depth": 8}, (1, 8, 8)),
    ({"kind": "resnet", "depth": 14, "batch_norm": None, "activation": "tanh"}, (3, 8, 8)),
    ({"kind": "resnet", "depth": 18}, (3, 32, 32)),
    ({"kind": "resnet", "depth": 8, "dropout": {"drop": 0.2, "form": "classic"}}, (1, 8, 8)),
    ({"kind": "layers", "layers": [{"kind": "global_average_pool"}]}, (3, 8, 8)),
]
FIXUP: dict[str, Any] = {"kind": "resnet", "depth": 14, "batch_norm": None, "initialization": {"kind": "fixup"}}


def rows(network: dict[str, Any], shape: Shape, classes: int = 4) -> Any:
    return table(networks.describe(spec(network=network).network, shape, classes), shape)


def model_of(network: dict[str, Any], shape: Shape, classes: int = 4, seed: int = 1) -> nn.Sequential:
    chosen = spec(network=network)
    model = skeleton(chosen, shape, classes)
    initialize(model, chosen.network.initialization, seed)
    dropout.reseed(model, torch.device("cpu"), seed, 1)
    return model


def images(shape: Shape, count: int = 5) -> Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, *shape), generator=source, dtype=torch.uint8)


def listed(*layers: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"kind": "layers", "layers": list(layers), **options}


@pytest.mark.parametrize(
    ("network", "side", "parameters"),
    [
        ({"kind": "alexnet"}, 227, 62_378_344),
        ({"kind": "alexnet", "local_response_norm": True}, 227, 62_378_344),
        ({"kind": "vgg", "depth": 11}, 224, 132_863_336),
        ({"kind": "vgg", "depth": 13}, 224, 133_047_848),
        ({"kind": "vgg", "depth": 16}, 224, 138_357_544),
        ({"kind": "vgg", "depth": 19}, 224, 143_667_240),
        ({"kind": "resnet", "depth": 18}, 224, 11_689_512),
        ({"kind": "resnet", "depth": 34}, 224, 21_797_672),
        ({"kind": "resnet", "depth": 50}, 224, 25_557_032),
        ({"kind": "resnet", "depth": 101}, 224, 44_549_160),
        ({"kind": "resnet", "depth": 152}, 224, 60_192_808),
    ],
)
def test_an_imagenet_network_has_its_published_number_of_parameters(
    network: dict[str, Any], side: int, parameters: int
) -> None:
    shape = (3, side, side)

    assert sum(row.weights + row.biases for row in rows(network, shape, 1000)) == parameters
    # Weights are not filled, and so take no memory.
    assert sum(item.numel() for item in skeleton(spec(network=network), shape, 1000).parameters()) == parameters


@pytest.mark.parametrize(
    ("depth", "parameters"), [(8, 78_042), (20, 272_474), (32, 466_906), (56, 855_770), (110, 1_730_714)]
)
def test_a_small_residual_network_has_the_size_of_its_depth(depth: int, parameters: int) -> None:
    found = rows({"kind": "resnet", "depth": depth}, (3, 32, 32), 10)

    assert sum(row.weights + row.biases for row in found) == parameters
    weighted = [row for row in found if row.kind in ("Convolution", "Linear") and ".shortcut." not in row.name]
    assert len(weighted) == depth


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ({"kind": "alexnet"}, {"pool1": (96, 27, 27), "pool2": (256, 13, 13), "pool5": (256, 6, 6)}),
        ({"kind": "alexnet", "variant": "small"}, {"conv1": (48, 227, 227), "hidden2": (2048,)}),
        ({"kind": "vgg"}, {"stage1.pool": (64, 113, 113), "stage5.pool": (512, 7, 7), "hidden1": (4096,)}),
        ({"kind": "resnet", "depth": 18}, {"pool1": (64, 57, 57), "stage4.block2.conv2": (512, 8, 8), "pool": (512,)}),
        ({"kind": "resnet", "depth": 50}, {"stage4.block3.conv3": (2048, 8, 8), "pool": (2048,)}),
        ({"kind": "resnet", "depth": 50, "stem": "small"}, {"conv1": (64, 227, 227)}),
        ({"kind": "resnet", "depth": 20}, {"conv1": (16, 227, 227), "stage3.block3.conv2": (64, 57, 57)}),
    ],
)
def test_a_family_has_the_shapes_of_its_paper(network: dict[str, Any], layers: dict[str, tuple[int, ...]]) -> None:
    found = {row.name: row.output_shape for row in rows(network, (3, 227, 227), 1000)}

    assert {name: found[name] for name in layers} == layers


@pytest.mark.parametrize(("network", "shape"), SMALL)
def test_images_become_logits_and_every_parameter_gets_a_gradient(network: dict[str, Any], shape: Shape) -> None:
    model = model_of(network, shape)

    logits = model(images(shape))
    functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3, 0])).backward()

    assert logits.shape == (5, 4)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("network", "shape"), SMALL)
def test_channels_last_changes_no_prediction(network: dict[str, Any], shape: Shape) -> None:
    model = model_of(network, shape)
    model(images(shape))
    before = model.eval()(images(shape))

    after = model.to(memory_format=torch.channels_last)(images(shape))  # type: ignore[call-overload]

    assert torch.allclose(before, after, atol=1e-4, rtol=1e-4)


def test_convolutions_inside_blocks_are_trained_with_channels_last() -> None:
    network = listed({"kind": "residual", "branch": [{"kind": "convolution", "channels": 3, "padding": 1}]})
    data = dataset(shape=(3, 8, 8))
    chosen = spec(network=network, batch_size=8)

    training = learner(chosen, data)

    weight = training.model.get_parameter("residual1.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_parameters_are_named_as_the_layer_table_names_them() -> None:
    names = {name for name, _ in model_of({"kind": "resnet", "depth": 14}, (1, 8, 8)).named_parameters()}

    assert {"conv1.weight", "norm1.bias", "stage1.block1.conv1.weight", "stage2.block1.shortcut.conv.weight"} <= names
    assert {name.rpartition(".")[0] for name in names} <= {
        row.name for row in rows({"kind": "resnet", "depth": 14}, (1, 8, 8))
    }


def test_a_basic_block_is_what_the_paper_says() -> None:
    model = model_of({"kind": "resnet", "depth": 8}, (1, 8, 8)).double()
    block = model.get_submodule("stage2.block1")
    state = {name: tensor.detach() for name, tensor in block.named_parameters()}
    units = torch.randn(3, 16, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def normalized(units: Tensor) -> Tensor:
        mean = units.mean((0, 2, 3), keepdim=True)
        return (units - mean) / (units.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    inside = normalized(functional.conv2d(units, state["conv1.weight"], stride=2, padding=1)).clamp(min=0)
    branch = normalized(functional.conv2d(inside, state["conv2.weight"], padding=1))
    shortcut = normalized(functional.conv2d(units, state["shortcut.conv.weight"], stride=2))
    assert torch.allclose(block(units), (branch + shortcut).clamp(min=0), atol=1e-10)


def test_without_a_shortcut_of_its_own_a_block_adds_its_input() -> None:
    block = Residual({"leaky": nn.LeakyReLU(2.0)}, {}, {"relu": nn.ReLU()})

    assert block(torch.tensor([1.0, -1.0])).tolist() == [2.0, 0.0]
    assert Residual({"leaky": nn.LeakyReLU(2.0)}, {}, {})(torch.tensor([-1.0])).tolist() == [-3.0]


def test_bottlenecks_take_their_stride_in_the_3x3_convolution() -> None:
    found = {row.name: row for row in rows({"kind": "resnet", "depth": 50, "stem": "small"}, (3, 32, 32))}

    assert found["stage2.block1.conv1"].output_shape == (128, 32, 32)
    assert found["stage2.block1.conv2"].output_shape == (128, 16, 16)
    assert found["stage2.block1.conv3"].output_shape == (512, 16, 16)


def test_convolutions_of_a_residual_network_have_biases_only_without_batch_norm() -> None:
    def biased(network: dict[str, Any]) -> set[bool]:
        return {row.biases > 0 for row in rows(network, (1, 8, 8)) if row.kind == "Convolution"}

    assert biased({"kind": "resnet", "depth": 8}) == {False}
    assert biased({"kind": "resnet", "depth": 8, "batch_norm": None}) == {True}
    assert biased({"kind": "resnet", "depth": 8, "batch_norm": {"after": ["conv1"]}}) == {True}


def test_an_image_gives_the_same_prediction_alone_and_inside_any_batch_of_a_residual_network() -> None:
    model = model_of({"kind": "resnet", "depth": 8}, (1, 8, 8))
    many = images((1, 8, 8))
    model(many)
    model.eval()

    alone = torch.cat([model(image[None]) for image in many])

    assert torch.allclose(model(many), alone, atol=1e-5)


def test_dropout_inside_blocks_draws_by_seed_and_step_and_rests_at_test() -> None:
    network = {"kind": "resnet", "depth": 8, "dropout": {"drop": 0.5, "after": ["stage1.block1.conv1", "pool"]}}
    model = model_of(network, (1, 8, 8))
    many = images((1, 8, 8))

    def drawn(step: int) -> Tensor:
        dropout.reseed(model, torch.device("cpu"), 1, step)
        return model(many)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    model.eval()
    assert torch.equal(drawn(1), drawn(2))


def test_layers_inside_blocks_draw_their_weights_apart() -> None:
    first, again, other = (model_of({"kind": "resnet", "depth": 14}, (1, 8, 8), seed=seed) for seed in (1, 1, 2))
    weights = [tensor for name, tensor in first.named_parameters() if name.startswith("stage1") and tensor.ndim == 4]

    assert len({tensor.flatten()[0].item() for tensor in weights}) == len(weights) == 4
    name = "stage2.block2.conv2.weight"
    assert torch.equal(first.get_parameter(name), again.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


@pytest.mark.parametrize(
    ("network", "shape", "field", "name", "expected"),
    [
        ({"kind": "mlp"}, (1, 8, 8), "dropout", "flatten", "flatten_dropout"),
        ({"kind": "lenet"}, (1, 28, 28), "dropout", "pool1", "pool1_dropout"),
        ({"kind": "convnet", "channels": [3]}, (1, 8, 8), "batch_norm", "pool1", "pool1_norm"),
        ({"kind": "alexnet", "variant": "small"}, (1, 28, 28), "batch_norm", "hidden1", "hidden1_norm"),
        (
            {"kind": "vgg", "depth": 11, "width": 2, "variant": "small"},
            (1, 32, 32),
            "dropout",
            "stage2",
            "stage2_dropout",
        ),
        (
            {"kind": "resnet", "depth": 8},
            (1, 8, 8),
            "dropout",
            "stage1.block1.activation1",
            "stage1.block1.activation1_dropout",
        ),
        (
            {"kind": "resnet", "depth": 8},
            (1, 8, 8),
            "batch_norm",
            "stage2.block1.shortcut.conv",
            "stage2.block1.shortcut.conv_norm",
        ),
        ({"kind": "resnet", "depth": 8}, (1, 8, 8), "batch_norm", "stage2.block1", "stage2.block1_norm"),
    ],
)
def test_batch_norm_and_dropout_stand_behind_any_layer_of_any_network(
    network: dict[str, Any], shape: Shape, field: str, name: str, expected: str
) -> None:
    part: dict[str, Any] = {"after": [name]} | ({"drop": 0.5} if field == "dropout" else {})
    kind = "Drop" if field == "dropout" else "BatchNormalization"

    changed = network | {"dropout": None, field: part}
    found = [row.name for row in rows(changed, shape) if row.kind == kind]

    if field == "dropout" or network["kind"] != "resnet":
        assert found == [expected]
    assert expected in found
    assert model_of(changed, shape)(images(shape)).shape == (5, 4)


def test_no_places_are_none() -> None:
    network = {"kind": "resnet", "depth": 8, "dropout": {"drop": 0.5, "after": []}, "batch_norm": {"after": []}}

    assert not [row for row in rows(network, (1, 8, 8)) if row.kind in ("Drop", "BatchNormalization")]


def test_local_response_normalisation_follows_the_papers_formula() -> None:
    units = torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 50

    found = LocalResponseNorm(5, 1e-4, 0.75, 2.0)(units)

    for channel in range(7):
        near = units[:, max(0, channel - 2) : channel + 3]
        expected = units[:, channel] / (2 + 1e-4 * near.square().sum(1)) ** 0.75
        assert torch.allclose(found[:, channel], expected)
    # torch's own divides alpha by the number of channels in the sum.
    assert torch.allclose(found, functional.local_response_norm(units, 5, alpha=5e-4, beta=0.75, k=2.0))


def test_local_response_normalisation_takes_an_even_number_of_channels_as_torch_does() -> None:
    units = torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    found = LocalResponseNorm(4, 0.1, 0.75, 1.0)(units)

    assert torch.allclose(found, functional.local_response_norm(units, 4, alpha=0.4, beta=0.75, k=1.0))


def test_a_list_names_its_layers_and_ends_in_an_output() -> None:
    network = listed(
        {"kind": "convolution", "channels": 8, "padding": 1},
        {"kind": "batch_norm"},
        {"kind": "activation"},
        {"kind": "max_pool", "size": 3, "stride": 2, "padding": 1},
        {"kind": "dropout", "drop": 0.3},
        {"kind": "convolution", "channels": 5, "kernel_size": 1, "bias": False, "name": "squeeze"},
        {"kind": "activation", "function": "tanh"},
        {"kind": "convolution", "channels": 6},
        {"kind": "average_pool"},
    )

    found = rows(network, (1, 8, 8))

    assert [(row.name, row.output_shape) for row in found] == [
        ("conv1", (8, 8, 8)),
        ("norm1", (8, 8, 8)),
        ("activation1", (8, 8, 8)),
        ("pool1", (8, 4, 4)),
        ("dropout1", (8, 4, 4)),
        ("squeeze", (5, 4, 4)),
        ("activation2", (5, 4, 4)),
        ("conv3", (6, 2, 2)),
        ("pool2", (6, 1, 1)),
        ("output_flatten", (6,)),
        ("output", (4,)),
    ]
    assert (found[0].weights, found[5].biases) == (72, 0)
    assert isinstance(model_of(network, (1, 8, 8)).get_submodule("activation2"), nn.Tanh)


@pytest.mark.parametrize(
    ("last", "names"),
    [
        ({"kind": "linear", "units": 4}, ["flatten1", "output"]),
        ({"kind": "linear", "units": 4, "name": "head"}, ["flatten1", "head"]),
        ({"kind": "linear", "units": 5}, ["flatten1", "linear1", "output"]),
        ({"kind": "activation"}, ["flatten1", "activation1", "output"]),
    ],
)
def test_a_last_linear_layer_with_a_unit_a_class_is_the_output(last: dict[str, Any], names: list[str]) -> None:
    found = rows(listed({"kind": "flatten"}, last), (1, 8, 8))

    assert [row.name for row in found] == names
    assert found[-1].output_shape == (4,)


def test_a_list_takes_the_networks_activation_batch_norm_and_dropout() -> None:
    network = listed(
        {"kind": "convolution", "channels": 3},
        {"kind": "activation"},
        {"kind": "residual", "branch": [{"kind": "convolution", "channels": 3, "padding": 1}], "name": "block"},
        {"kind": "convolution", "channels": 3},
        {"kind": "batch_norm", "epsilon": 0.5},
        {"kind": "flatten"},
        activation="sigmoid",
        batch_norm={"epsilon": 0.25},
        dropout={"drop": 0.5},
    )

    model = model_of(network, (1, 8, 8))

    assert [row.name for row in rows(network, (1, 8, 8))] == [
        *("conv1", "conv1_norm", "activation1", "block.conv1", "block.conv1_norm", "conv2", "norm1", "flatten1"),
        *("output_dropout", "output"),
    ]
    assert isinstance(model.get_submodule("activation1"), nn.Sigmoid)
    assert (model.get_submodule("conv1_norm").eps, model.get_submodule("norm1").eps) == (0.25, 0.5)


def test_a_listed_residual_with_a_projection_is_that_of_the_family() -> None:
    convolution = {"kind": "convolution", "padding": 1, "bias": False}
    network = listed(
        {"kind": "convolution", "channels": 16, "padding": 1, "bias": False},
        {"kind": "activation"},
        {
            "kind": "residual",
            "branch": [
                {**convolution, "channels": 32, "stride": 2},
                {"kind": "activation"},
                {**convolution, "channels": 32},
            ],
            "shortcut": [{"kind": "convolution", "channels": 32, "kernel_size": 1, "stride": 2, "bias": False}],
        },
        {"kind": "activation"},
        {"kind": "global_average_pool"},
        batch_norm={},
    )
    family = {row.name: row for row in rows({"kind": "resnet", "depth": 8}, (1, 8, 8))}
    found = {row.name: row for row in rows(network, (1, 8, 8))}

    for ours, theirs in (("conv1", "conv1"), ("conv2", "conv2"), ("shortcut.conv1", "shortcut.conv")):
        listed_row, family_row = found[f"residual1.{ours}"], family[f"stage2.block1.{theirs}"]
        assert listed_row.output_shape == family_row.output_shape
        assert listed_row.weights == family_row.weights


def test_every_name_that_torch_keeps_is_reserved() -> None:
    taken = {name for name in (*dir(nn.Sequential()), *dir(Residual({}, {}, {}))) if name[0].islower()}

    assert all(RESERVED_NAMES.fullmatch(name) for name in taken)
    assert not RESERVED_NAMES.fullmatch("conv1")


def kept(network: dict[str, Any], shape: Shape, count: int = 3) -> float:
    """Values of one image that torch keeps for the backward pass: four bytes each, parameters left out."""
    model = model_of(network, shape)
    model(images(shape, count))
    own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own and tensor.ndim > 1 and len(tensor) == count:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(images(shape, count))
    assert logits.requires_grad
    return sum(tensor.nbytes for tensor in found.values()) / 4 / count


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        *SMALL[:7],
        (FIXUP, (3, 8, 8)),
        ({"kind": "mlp", "hidden": [5, 7], "dropout": {"drop": 0.5}}, (1, 8, 8)),
        ({"kind": "lenet", "pool": "max"}, (1, 28, 28)),
        ({"kind": "lenet", "batch_norm": {}}, (1, 28, 28)),
        (listed({"kind": "max_pool"}, {"kind": "residual", "branch": [{"kind": "activation"}]}), (3, 8, 8)),
        (
            listed(
                {"kind": "average_pool"},
                {
                    "kind": "residual",
                    "branch": [{"kind": "convolution", "channels": 2}],
                    "shortcut": [{"kind": "convolution", "channels": 2}],
                },
            ),
            (3, 8, 8),
        ),
    ],
)
def test_activations_are_what_torch_keeps_until_the_backward_pass(network: dict[str, Any], shape: Shape) -> None:
    assert sum(row.activations for row in rows(network, shape)) == kept(network, shape)


@pytest.mark.parametrize(("momentum", "tensors"), [("none", 0), ("classical", 1), ("averaged", 1), ("nesterov", 1)])
def test_memory_counts_weights_gradients_the_optimizers_state_and_a_batch_of_activations(
    momentum: str, tensors: int
) -> None:
    chosen = spec(optimizer={"kind": "sgd", "momentum": {"form": momentum}}, batch_size=10)
    found = rows({"kind": "mlp", "hidden": [16]}, (1, 8, 8))

    memory = estimate(chosen, found)

    parameters = 64 * 16 + 16 + 16 * 4 + 4
    assert (memory.weights, memory.gradients) == (4 * parameters, 4 * parameters)
    assert memory.optimizer == 4 * parameters * tensors
    assert memory.activations == 4 * 10 * (64 + 16)


def test_half_precision_takes_half_the_memory_for_activations_and_copies_of_the_weights() -> None:
    found = rows({"kind": "mlp", "hidden": [16]}, (1, 8, 8))
    full, half = (estimate(spec(execution={"precision": precision}), found) for precision in ("float32", "bfloat16"))

    assert 2 * half.activations == full.activations
    assert 2 * half.weights == 3 * full.weights
    assert (half.gradients, half.optimizer) == (full.gradients, full.optimizer)
