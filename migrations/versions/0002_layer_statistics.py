"""Layer statistics."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "layer_stats",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("activation_mean", sa.Double(), nullable=True),
        sa.Column("activation_std", sa.Double(), nullable=True),
        sa.Column("activation_histogram", sa.JSON(), nullable=False),
        sa.Column("gradient_mean", sa.Double(), nullable=True),
        sa.Column("gradient_std", sa.Double(), nullable=True),
        sa.Column("gradient_histogram", sa.JSON(), nullable=False),
        sa.Column("dead", sa.Double(), nullable=True),
        sa.Column("saturated", sa.Double(), nullable=True),
        sa.Column("symmetric", sa.Boolean(), nullable=True),
        sa.Column("weight_norm", sa.Double(), nullable=True),
        sa.Column("weight_gradient_norm", sa.Double(), nullable=True),
        sa.Column("update_ratio", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_layer_stats_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "epoch", "index", name="pk_layer_stats"),
    )


def downgrade() -> None:
    op.drop_table("layer_stats")
