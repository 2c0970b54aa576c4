"""How steps are computed."""

from typing import Literal

from pydantic import Field

from trainer.spec.part import Part


class Execution(Part):
    """How steps are computed. What the worker's device or machine cannot do is refused when the training starts.

    Weights, their updates, batch-norm statistics, the loss, validation, inspections and snapshots are float32 always.
    """

    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="What convolutions and matrix products of training steps are computed in. `bfloat16` and `float16` "
        "halve what is kept of activations, and are refused where the hardware has no arithmetic in them: there they "
        "would be slower. With `float16` the loss is scaled, from 65,536 on, so that small gradients do not vanish; "
        "when gradients overflow, the step changes no weight, the scale halves and the schedule goes on; after 2,000 "
        "steps without that it doubles (Micikevicius 2018). Each step waits to learn whether gradients overflowed.",
    )
    memory_format: Literal["auto", "channels_last", "contiguous"] = Field(
        default="auto",
        description="How images and filters of convolutions lie in memory. The two layouts differ in speed and in the "
        "last bits of sums. `auto`: channels last, which is quicker nearly everywhere; with `deterministic: false` "
        "the quicker of the two by the clock, found on a copy of the network whenever a training starts or goes on.",
    )
    compile: bool = Field(
        default=False,
        description="Compile training steps for this network (torch.compile): seconds to minutes at the start, for "
        "steps that may be quicker, or slower. Needs a C++ compiler where the training runs, and Triton on GPUs. "
        "An epoch's smaller last batch, validation and inspections run uncompiled.",
    )
    deterministic: bool = Field(
        default=True,
        description="Use only algorithms that give the same bits each time. `false` lets cuDNN try its algorithms out "
        "and take the quickest, and `memory_format: auto` go by the clock; given up is that the same spec and seed "
        "give the same weights, and that a training that was interrupted ends as if it had not been.",
    )
    sync_batch_norm: bool = Field(
        default=True,
        description="Where several `devices` train together: batch norm normalises by the whole batch, as one device "
        "would. `false`: by each device's part of it, which is quicker and, with large parts, as good; snapshots have "
        "the first device's running statistics.",
    )
