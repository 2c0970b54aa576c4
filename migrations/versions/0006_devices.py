"""What devices workers offer, and what jobs ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

QUEUED = {
    "postgresql_where": sa.text("status = 'queued'"),
    "sqlite_where": sa.text("status = 'queued'"),
}


def upgrade() -> None:
    op.add_column("workers", sa.Column("offers", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("jobs", sa.Column("devices", sa.Integer(), server_default="1", nullable=False))
    op.add_column("jobs", sa.Column("precision", sa.String(), server_default="float32", nullable=False))
    _index_by("priority", "owner", "id", "device", "devices", "precision")


def downgrade() -> None:
    _index_by("priority", "owner", "id", "device")
    op.drop_column("jobs", "precision")
    op.drop_column("jobs", "devices")
    op.drop_column("workers", "offers")


def _index_by(*columns: str) -> None:
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", list(columns), **QUEUED)
