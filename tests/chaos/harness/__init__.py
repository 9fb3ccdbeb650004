"""Breaks a running service on purpose and proves from the bots' own logs that nothing was lost."""
