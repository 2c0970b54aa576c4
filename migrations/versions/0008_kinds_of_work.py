"""Jobs of other kinds than training, and ensembles that are scored by a job of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SCORES = [f"{prefix}{name}" for prefix in ("", "single_") for name in ("accuracy", "error", "negative_log_likelihood")]


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("kind", sa.String(length=20), server_default="training", nullable=False))
        table.alter_column("dataset_id", existing_type=sa.String(), nullable=True)
        table.create_check_constraint(op.f("ck_jobs_kind"), "kind IN ('training', 'scoring', 'import')")
    with op.batch_alter_table("ensembles") as table:
        for name in SCORES:
            table.alter_column(name, existing_type=sa.Double(), nullable=True)
        table.add_column(sa.Column("report", sa.JSON(), nullable=True))
    with op.batch_alter_table("ensemble_members") as table:
        table.alter_column("weight", existing_type=sa.Double(), nullable=True)


def downgrade() -> None:
    # What the older version has no word for goes, as if its job had been deleted.
    ours = "SELECT id FROM jobs WHERE kind <> 'training'"
    op.execute(f"DELETE FROM ensemble_members WHERE ensemble_id IN (SELECT id FROM ensembles WHERE job_id IN ({ours}))")
    for name in ("ensembles", "attempts", "events", "log_chunks", "idempotency_keys"):
        op.execute(f"DELETE FROM {name} WHERE job_id IN ({ours})")
    op.execute("DELETE FROM jobs WHERE kind <> 'training'")
    with op.batch_alter_table("ensemble_members") as table:
        table.alter_column("weight", existing_type=sa.Double(), nullable=False)
    with op.batch_alter_table("ensembles") as table:
        table.drop_column("report")
        for name in SCORES:
            table.alter_column(name, existing_type=sa.Double(), nullable=False)
    with op.batch_alter_table("jobs") as table:
        table.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        table.alter_column("dataset_id", existing_type=sa.String(), nullable=False)
        table.drop_column("kind")
