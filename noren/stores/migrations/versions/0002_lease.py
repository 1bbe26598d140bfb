"""Who leads among the control planes of this store."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the lease, which nobody has yet."""
    lease = op.create_table(
        "lease",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    nobody = {"id": 1, "holder": "", "epoch": 0, "beat": 0, "seconds": 0.0, "at": datetime(1970, 1, 1, tzinfo=UTC)}
    op.bulk_insert(lease, [nobody])
