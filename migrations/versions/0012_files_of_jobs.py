"""Jobs that predict whole data sets or export models, and the files that they make."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

KINDS = "kind IN ('training', 'scoring', {}'import')"
PHASES = "phase IS NULL OR phase IN ('starting', 'loading_data', 'training', 'scoring', {}'saving')"


def upgrade() -> None:
    _check("kind", KINDS.format("'prediction', 'export', "))
    _check("phase", PHASES.format("'predicting', 'exporting', "))
    op.create_index("ix_jobs_spec_sha256", "jobs", ["spec_sha256"])
    op.create_table(
        "job_snapshots",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_snapshots_job_id_jobs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.id"], name="fk_job_snapshots_snapshot_id_snapshots", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_job_snapshots"),
    )
    op.create_index("ix_job_snapshots_snapshot_id", "job_snapshots", ["snapshot_id"])
    op.create_table(
        "job_files",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_files_job_id_jobs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name="fk_job_files_sha256_blobs"),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_job_files"),
    )
    op.create_index("ix_job_files_sha256", "job_files", ["sha256"])


def downgrade() -> None:
    op.drop_table("job_files")
    op.drop_table("job_snapshots")
    op.drop_index("ix_jobs_spec_sha256", "jobs")
    # What the older version has no word for goes, as if its job had been deleted.
    ours = "SELECT id FROM jobs WHERE kind IN ('prediction', 'export')"
    for name in ("attempts", "events", "log_chunks", "idempotency_keys"):
        op.execute(f"DELETE FROM {name} WHERE job_id IN ({ours})")
    op.execute("DELETE FROM jobs WHERE kind IN ('prediction', 'export')")
    _check("kind", KINDS.format(""))
    _check("phase", PHASES.format(""))


def _check(name: str, condition: str) -> None:
    """Put a CHECK of `jobs` in the place of the one of that name."""
    with op.batch_alter_table("jobs") as table:
        table.drop_constraint(op.f(f"ck_jobs_{name}"), type_="check")
        table.create_check_constraint(op.f(f"ck_jobs_{name}"), condition)
