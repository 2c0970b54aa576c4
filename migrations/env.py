"""Called by Alembic for every command, with a connection whose transaction the caller owns."""

from alembic import context

from app.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
    user_module_prefix="clock.",
)
context.run_migrations()
