"""How many devices a job asks for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("devices", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    op.drop_column("jobs", "devices")
