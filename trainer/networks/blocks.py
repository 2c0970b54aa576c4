"""What the families have in common: a layer with its batch norm, nonlinearity and dropout."""

from collections.abc import Iterator

from trainer.layers import Activation, BatchNormalization, Drop, Layer
from trainer.spec import NetworkPart


def normalized(network: NetworkPart, number: int, features: int) -> Iterator[Layer]:
    """Batch norm, if the network has any, then the nonlinearity (Ioffe and Szegedy 2015)."""
    if network.batch_norm:
        norm = network.batch_norm
        yield BatchNormalization(f"norm{number}", features, norm.epsilon, norm.momentum)
    yield Activation(f"activation{number}", network.activation)


def dropped(network: NetworkPart, name: str) -> Iterator[Layer]:
    """Dropout, if the network has any."""
    if network.dropout:
        yield Drop(name, network.dropout.drop, network.dropout.form)
