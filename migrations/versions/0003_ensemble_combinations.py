"""What an ensemble is of, and what other combinations of its members score."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FIGURES = (
    "geometric_mean_accuracy",
    "geometric_mean_error",
    "geometric_mean_negative_log_likelihood",
    "majority_vote_accuracy",
    "majority_vote_error",
)


def upgrade() -> None:
    op.add_column("ensembles", sa.Column("kind", sa.String(), server_default="snapshots", nullable=False))
    op.add_column("ensembles", sa.Column("averaged", sa.BigInteger(), nullable=True))
    for name in FIGURES:
        op.add_column("ensembles", sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    for name in ("kind", "averaged", *FIGURES):
        op.drop_column("ensembles", name)
