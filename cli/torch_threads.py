"""What torch would train with here."""

import torch


def described() -> str:
    """Version and threads."""
    threads = torch.get_num_threads()
    return f"{torch.__version__}, {threads} threads on the CPU (OMP_NUM_THREADS changes that)"
