"""Contents of blobs outside the database."""

import sqlalchemy as sa
from alembic import op

from app.store import clock

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("blobs") as table:
        table.add_column(sa.Column("address", sa.String(), nullable=True))
    op.create_table(
        "stray_objects",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("since", clock.Timestamp(), server_default=clock.now(), nullable=False),
        sa.PrimaryKeyConstraint("address", name="pk_stray_objects"),
    )
    op.create_index("ix_stray_objects_since", "stray_objects", ["since"])


def downgrade() -> None:
    _refuse_while_outside()
    op.drop_table("stray_objects")
    with op.batch_alter_table("blobs") as table:
        table.drop_column("address")


def _refuse_while_outside() -> None:
    """The older version would find these blobs damaged."""
    count = op.get_bind().scalar(sa.text("SELECT count(*) FROM blobs WHERE address IS NOT NULL"))
    if count:
        raise RuntimeError(f"{count} blobs lie outside the database: `ANNEALER_BLOBS=sql annealer blobs move` first.")
