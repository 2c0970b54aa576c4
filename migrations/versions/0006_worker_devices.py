"""How many devices a worker has, and what they compute in."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("devices", sa.Integer(), server_default="1", nullable=False))
    op.add_column("workers", sa.Column("precisions", sa.JSON(), server_default="{}", nullable=False))


def downgrade() -> None:
    for name in ("devices", "precisions"):
        op.drop_column("workers", name)
