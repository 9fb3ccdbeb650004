"""What torch would train with here."""

import torch


def described() -> str:
    """Version and threads: training sets one, whatever OMP_NUM_THREADS says."""
    return f"{torch.__version__}; training takes one thread of the CPU"
