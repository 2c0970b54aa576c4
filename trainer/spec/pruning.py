"""Training anew with fewer weights."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.spec.part import Part


class LotteryTicket(Part):
    """Train, prune the smallest weights, rewind the rest to their start, train again (Frankle and Carbin 2019).

    The epochs are divided into rounds + 1 equal trainings. In each the schedule's clock and the optimizer start anew;
    at the end of each a snapshot is taken, if the schedule has none of its own. Pruned weights stay zero. Only weights
    of convolutions and linear layers are pruned; biases and batch norm are rewound with the rest.
    """

    kind: Literal["lottery_ticket"]
    rounds: int = Field(
        ge=1, le=100, description="How often the network is pruned; rounds + 1 must divide the number of epochs."
    )
    rate: float = Field(default=0.2, gt=0, lt=1, description="Share of the weights still left that a round prunes.")
    scope: Literal["layer", "global"] = Field(
        default="layer",
        description="`layer`: each layer loses its smallest weights, the output layer at half the rate; `global`: the "
        "smallest weights of all layers together.",
    )


Pruning = Annotated[LotteryTicket, Field(discriminator="kind")]
