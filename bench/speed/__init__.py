"""The parts of bench/decide_speed.py: servers to compare, generators of load, and what they find."""
