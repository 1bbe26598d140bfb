"""Who asked for what and why, in every line of history."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Widen the events. Of older ones nobody knows who asked for them, nor what there was before."""
    for column in (
        sa.Column("who", sa.String(100), nullable=False, server_default=""),
        sa.Column("claimed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("before", sa.JSON, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("after", sa.JSON, nullable=False, server_default=sa.text("'{}'")),
    ):
        op.add_column("events", column)
