"""Alembic migrations of the SQL tables: expand first, contract in a later release. Never holds other code."""
