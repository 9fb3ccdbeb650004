"""What torch would train with here."""

import torch


def described() -> str:
    """Version and threads."""
    threads = torch.get_num_threads()
    return f"{torch.__version__}, threads on the CPU: {threads} (by OMP_NUM_THREADS); training takes one"
