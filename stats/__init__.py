"""Whether one arm is better: intervals, sequential tests, sample-ratio checks, the report's arithmetic.

Pure functions over arrays. Never reads a clock, a file, a database or a random number; never raises on data,
only on input that breaks its stated rule; never answers NaN or p = 1 where it cannot say (see `status.py`).
"""
