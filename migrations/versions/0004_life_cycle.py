"""Whose jobs they are and whose turn it is, how long they may run, what a retry forgives, and repeated batches."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

QUEUED = {
    "postgresql_where": sa.text("status = 'queued'"),
    "sqlite_where": sa.text("status = 'queued'"),
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("owner", sa.String(), server_default="default", nullable=False))
    op.add_column("jobs", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("max_runtime", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("first_attempt", sa.Integer(), server_default="1", nullable=False))
    op.add_column("attempts", sa.Column("batch", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", ["priority", "owner", "id", "device"], **QUEUED)


def downgrade() -> None:
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", ["device", "id"], **QUEUED)
    op.drop_index("ix_attempts_ended_at", "attempts")
    op.drop_column("attempts", "batch")
    for name in ("first_attempt", "max_runtime", "priority", "owner"):
        op.drop_column("jobs", name)
