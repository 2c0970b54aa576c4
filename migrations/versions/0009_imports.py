"""Data sets that are imported: their owners, files and facts, and uploads in parts."""

import sqlalchemy as sa
from alembic import op

from app.store import clock

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

FACTS = {
    "sha256": sa.String(length=64),
    "channels": sa.Integer(),
    "height": sa.Integer(),
    "width": sa.Integer(),
    "classes": sa.JSON(),
    "train_count": sa.Integer(),
    "validation_count": sa.Integer(),
}
KNOWN = " AND ".join(f"{name} IS NOT NULL" for name in FACTS)


def upgrade() -> None:
    with op.batch_alter_table("datasets") as table:
        for name, kind in FACTS.items():
            table.alter_column(name, existing_type=kind, nullable=True)
        table.add_column(sa.Column("owner", sa.String(), nullable=True))
        table.add_column(sa.Column("request_sha256", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("size", sa.BigInteger(), server_default="0", nullable=False))
        table.add_column(sa.Column("manifest", sa.JSON(), nullable=True))
        table.add_column(sa.Column("ready_at", clock.Timestamp(), nullable=True))
        table.create_index(op.f("ix_datasets_sha256"), ["sha256"])
    op.execute("UPDATE datasets SET ready_at = created_at")
    with op.batch_alter_table("datasets") as table:
        table.create_check_constraint(op.f("ck_datasets_known_when_ready"), f"ready_at IS NULL OR ({KNOWN})")
    op.create_table(
        "dataset_files",
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_files_dataset_id_datasets"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_dataset_files_sha256_blobs")),
        sa.PrimaryKeyConstraint("dataset_id", "name", name=op.f("pk_dataset_files")),
    )
    op.create_index(op.f("ix_dataset_files_sha256"), "dataset_files", ["sha256"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("part_bytes", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("created_at", clock.Timestamp(), server_default=clock.now(), nullable=False),
        sa.Column("used_at", clock.Timestamp(), server_default=clock.now(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_uploads_job_id_jobs"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("owner", "sha256", "size", name=op.f("uq_uploads_owner_sha256_size")),
    )
    op.create_index(op.f("ix_uploads_job_id"), "uploads", ["job_id"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_upload_parts_upload_id_uploads"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=op.f("fk_upload_parts_sha256_blobs")),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("pk_upload_parts")),
    )
    op.create_index(op.f("ix_upload_parts_sha256"), "upload_parts", ["sha256"])


def downgrade() -> None:
    # What the older version has no word for goes: imports, and the data sets that they made with all that needs these.
    ours = "SELECT id FROM datasets WHERE owner IS NOT NULL"
    jobs = f"SELECT id FROM jobs WHERE kind = 'import' OR dataset_id IN ({ours})"
    members = f"SELECT id FROM snapshots WHERE job_id IN ({jobs})"
    op.execute(f"DELETE FROM ensemble_members WHERE snapshot_id IN ({members})")
    op.execute(f"DELETE FROM ensemble_members WHERE ensemble_id IN (SELECT id FROM ensembles WHERE job_id IN ({jobs}))")
    for name in ("upload_parts", "uploads", "dataset_files"):
        op.drop_table(name)
    for name in (
        "ensembles",
        "snapshots",
        "checkpoints",
        "epochs",
        "series_blocks",
        "layer_stats",
        "log_chunks",
        "events",
        "attempts",
        "idempotency_keys",
    ):
        op.execute(f"DELETE FROM {name} WHERE job_id IN ({jobs})")
    op.execute(f"DELETE FROM jobs WHERE id IN ({jobs})")
    op.execute("DELETE FROM datasets WHERE owner IS NOT NULL")
    with op.batch_alter_table("datasets") as table:
        table.drop_constraint(op.f("ck_datasets_known_when_ready"), type_="check")
        table.drop_index(op.f("ix_datasets_sha256"))
        for name in ("ready_at", "manifest", "size", "request_sha256", "owner"):
            table.drop_column(name)
        for name, kind in FACTS.items():
            table.alter_column(name, existing_type=kind, nullable=False)
