"""What the families have in common: a layer with its batch norm, nonlinearity and dropout."""

from collections.abc import Iterator, Sequence

from trainer.layers import Activation, BatchNormalization, Drop, Layer, Shape, followed, table
from trainer.spec import NetworkPart


def is_normalized(network: NetworkPart) -> bool:
    """Whether batch norm stands behind every hidden layer."""
    return network.batch_norm is not None and network.batch_norm.after is None


def normalization(network: NetworkPart, name: str, features: int) -> Iterator[Layer]:
    """Batch norm, if it stands behind every hidden layer."""
    if network.batch_norm and is_normalized(network):
        yield BatchNormalization(name, features, network.batch_norm.epsilon, network.batch_norm.momentum)


def normalized(network: NetworkPart, number: int, features: int) -> Iterator[Layer]:
    """Batch norm, if the network has any, then the nonlinearity (Ioffe and Szegedy 2015)."""
    yield from normalization(network, f"norm{number}", features)
    yield Activation(f"activation{number}", network.activation)


def dropped(network: NetworkPart, name: str) -> Iterator[Layer]:
    """Dropout, if the network has any where its family has it."""
    if network.dropout and network.dropout.after is None:
        yield Drop(name, network.dropout.drop, network.dropout.form)


def placed(network: NetworkPart, layers: Sequence[Layer], shape: Shape) -> tuple[Layer, ...]:
    """`layers` with batch norm and dropout behind those that the spec names; names of no layer are passed over."""
    built = tuple(layers)
    if network.dropout and network.dropout.after:
        drop, form = network.dropout.drop, network.dropout.form
        built = followed(built, {name: Drop(_named(name, "dropout"), drop, form) for name in network.dropout.after})
    if network.batch_norm and network.batch_norm.after:
        epsilon, momentum = network.batch_norm.epsilon, network.batch_norm.momentum
        features = _features(layers, shape)
        norms = {
            name: BatchNormalization(_named(name, "norm"), features[name], epsilon, momentum)
            for name in network.batch_norm.after
            if name in features
        }
        built = followed(built, norms)
    return built


def _named(name: str, suffix: str) -> str:
    return f"{name.rpartition('.')[2]}_{suffix}"


def _features(layers: Sequence[Layer], shape: Shape) -> dict[str, int]:
    """Channels or features that come out of each layer, by its name, and of those that hold others."""
    found: dict[str, int] = {}
    for row in table(layers, shape):
        parts = row.name.split(".")
        found |= {".".join(parts[:length]): row.output_shape[0] for length in range(1, len(parts) + 1)}
    return found
