"""Pictures of first layers, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.specs import spec
from trainer import build, filters, snapshot
from trainer.filters import draw, first


def saved(path: Path, shape: tuple[int, int, int], **network: object) -> dict[str, torch.Tensor]:
    """The weights of a network that is stored as a snapshot."""
    chosen = spec(network=network)
    weights = build.skeleton(chosen, shape, 10).state_dict()
    for number, tensor in enumerate(weights.values()):
        tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape) - number)
    provenance = {"spec": chosen.model_dump(mode="json"), "input_shape": list(shape), "classes": list("0123456789")}
    snapshot.write(path, weights, provenance)
    return weights


def test_zero_is_middle_grey_and_the_largest_weight_of_each_filter_black_or_white() -> None:
    weights = np.array([[[[0.0, 0.5], [-0.5, 1.0]]], [[[0.0, 0.0], [0.1, -0.2]]]], np.float32)

    picture = draw(weights, zoom=1)

    assert picture.tolist() == [
        [255, 255, 255, 255, 255, 255, 255],
        [255, 128, 191, 255, 128, 128, 255],
        [255, 64, 255, 255, 191, 0, 255],
        [255, 255, 255, 255, 255, 255, 255],
    ]


def test_a_filter_of_zeros_is_grey_all_over() -> None:
    assert draw(np.zeros((1, 1, 2, 2), np.float32), zoom=1)[1:-1, 1:-1].tolist() == [[128, 128], [128, 128]]


def test_filters_on_rgb_images_are_coloured_on_one_scale_for_all_channels() -> None:
    red_minus_blue = np.zeros((1, 3, 1, 1), np.float32)
    red_minus_blue[0, :, 0, 0] = (2.0, 0.0, -1.0)

    picture = draw(red_minus_blue, zoom=1)

    assert picture.shape == (3, 3, 3)
    assert picture[1, 1].tolist() == [255, 128, 64]


def test_filters_on_other_channels_are_a_row_each_of_a_tile_a_channel() -> None:
    weights = np.zeros((3, 2, 1, 1), np.float32)
    weights[1] = [[[1.0]], [[-1.0]]]

    picture = draw(weights, zoom=1)

    assert picture.shape == (7, 5)
    assert picture[1::2, 1::2].tolist() == [[128, 128], [255, 0], [128, 128]]


def test_five_filters_make_a_grid_of_three_columns_with_background_where_none_is_left() -> None:
    picture = draw(-np.ones((5, 1, 1, 1), np.float32), zoom=1)

    assert picture[1::2, 1::2].tolist() == [[0, 0, 0], [0, 0, 255]]


def test_zoom_makes_squares_of_pixels() -> None:
    weights = np.array([[[[-1.0, 1.0]]]], np.float32)

    picture = draw(weights, zoom=3)

    assert picture.shape == (9, 12)
    assert (picture == draw(weights, zoom=1).repeat(3, 0).repeat(3, 1)).all()


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ({"kind": "convnet", "channels": [4, 5]}, "conv1"),
        ({"kind": "resnet", "depth": 8, "batch_norm": None, "initialization": {"kind": "fixup"}}, "conv1"),
    ],
)
def test_the_first_convolution_of_a_snapshot_is_drawn(tmp_path: Path, network: dict[str, object], layer: str) -> None:
    weights = saved(tmp_path / "file", (3, 12, 12), **network)

    assert np.array_equal(first(tmp_path / "file"), weights[f"{layer}.weight"].numpy())


def test_a_unit_on_a_whole_image_is_drawn_as_an_image(tmp_path: Path) -> None:
    weights = saved(tmp_path / "file", (3, 12, 12), kind="mlp", hidden=[6])

    found = first(tmp_path / "file")

    assert found.shape == (6, 3, 12, 12)
    assert np.array_equal(found.reshape(6, -1), weights["hidden1.weight"].numpy())


def test_a_unit_on_less_than_an_image_has_no_picture(tmp_path: Path) -> None:
    saved(tmp_path / "file", (3, 12, 12), kind="layers", layers=[{"kind": "max_pool"}, {"kind": "flatten"}])

    with pytest.raises(ValueError, match="its first layer with weights, output, does not see whole images"):
        first(tmp_path / "file")


def test_another_file_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"something else")

    with pytest.raises(ValueError, match="file is not a snapshot"):
        filters.first(tmp_path / "file")
