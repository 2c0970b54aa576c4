"""How many devices a job asks for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None

QUEUED = {
    "postgresql_where": sa.text("status = 'queued'"),
    "sqlite_where": sa.text("status = 'queued'"),
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("devices", sa.Integer(), server_default="1", nullable=False))
    _index_by("priority", "owner", "id", "device", "devices")


def downgrade() -> None:
    _index_by("priority", "owner", "id", "device")
    op.drop_column("jobs", "devices")


def _index_by(*columns: str) -> None:
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", list(columns), **QUEUED)
