"""Workers that are to take no jobs for a while, and the memory that they have."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("workers") as table:
        table.add_column(sa.Column("is_drained", sa.Boolean(), server_default=sa.false(), nullable=False))
        table.add_column(sa.Column("memory", sa.JSON(), server_default="{}", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("workers") as table:
        table.drop_column("memory")
        table.drop_column("is_drained")
