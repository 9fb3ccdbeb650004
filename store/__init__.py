"""What outlives a process: journal, Redis, SQL tables, migrations, model registry.

Never decides anything: no assignment, no model, no statistics, no HTTP.
"""
