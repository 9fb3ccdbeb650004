"""What bench/arm_latency.py and bench/training_speed.py compare our nets with, and how."""
