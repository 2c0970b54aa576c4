"""API keys, and idempotency keys for each owner."""

import sqlalchemy as sa
from alembic import op

from app.store import clock

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("scope", sa.String(length=20), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", clock.Timestamp(), server_default=clock.now(), nullable=False),
        sa.Column("expires_at", clock.Timestamp(), nullable=True),
        sa.Column("revoked_at", clock.Timestamp(), nullable=True),
        sa.Column("last_used_at", clock.Timestamp(), nullable=True),
        sa.CheckConstraint("scope IN ('read', 'submit', 'admin')", name=op.f("ck_api_keys_scope")),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )
    op.add_column("idempotency_keys", sa.Column("owner", sa.String(), server_default="default", nullable=False))
    op.execute(
        "UPDATE idempotency_keys SET owner = (SELECT jobs.owner FROM jobs WHERE jobs.id = idempotency_keys.job_id)"
    )
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column("owner", server_default=None)
        table.drop_constraint("pk_idempotency_keys", type_="primary")
        table.create_primary_key("pk_idempotency_keys", ["owner", "key"])


def downgrade() -> None:
    # Of what several owners call by the same key, the oldest stays.
    op.execute(
        "DELETE FROM idempotency_keys WHERE EXISTS (SELECT 1 FROM idempotency_keys AS other"
        " WHERE other.key = idempotency_keys.key AND other.job_id < idempotency_keys.job_id)"
    )
    with op.batch_alter_table("idempotency_keys") as table:
        table.drop_constraint("pk_idempotency_keys", type_="primary")
        table.create_primary_key("pk_idempotency_keys", ["key"])
        table.drop_column("owner")
    op.drop_table("api_keys")
