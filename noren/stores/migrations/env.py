"""Alembic's way in. The store hands its own connection over; there is no configuration file."""

from alembic import context

from noren.stores.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
