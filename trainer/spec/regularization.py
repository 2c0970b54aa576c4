"""What keeps weights and gradients small."""

from pydantic import Field

from trainer.spec.part import Part


class GradientClipping(Part):
    """Scale the loss's gradient down where its norm, over all weights and biases at once, is larger (Pascanu 2013).

    Before weight decay and L1 are added.
    """

    norm: float = Field(gt=0, le=1_000_000, description="Largest norm of the gradient.")


class Regularization(Part):
    """What keeps weights and gradients small."""

    weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="L2 penalty: `weight_decay * x` is added to the gradient of x."
    )
    decoupled_weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="`x -= a * decoupled_weight_decay * x` in each step, beside the update; a is the layer's own rate "
        "(Loshchilov and Hutter 2019). `adamw` has its own.",
    )
    l1: float = Field(default=0.0, ge=0, le=1, description="L1 penalty: `l1 * sign(x)` is added to the gradient of x.")
    decay_biases_and_norms: bool = Field(
        default=False,
        description="Apply weight decay, of any form, and L1 to biases and batch-norm parameters too; by default "
        "they are left out.",
    )
    max_norm: float | None = Field(
        default=None,
        gt=0,
        le=1_000,
        description="Largest norm of the weights into a unit or of a filter; longer ones are scaled down after each "
        "update, biases left out (Srivastava 2014). Left out: no limit.",
    )
    gradient_clipping: GradientClipping | None = Field(
        default=None, description="Limits the gradient's global norm; left out: none."
    )
