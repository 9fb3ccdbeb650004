"""Where states come from and what trades are worth: recordings, features, simulated worlds, sessions, labels.

It never assigns an arm, never writes to a database, and never lets a decision meet the price it has seen.
"""
