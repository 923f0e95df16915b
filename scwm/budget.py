"""How much memory a command may take; beyond it the command ends in an error that names what to
lower, not in a machine that swaps."""

import os
import re
import resource

from scwm.errors import ScwmError

VARIABLE = "SCWM_MEMORY_BUDGET"  # handed on to the processes that a command starts
UNITS = {"M": 2**20, "G": 2**30, "T": 2**40}


def memory_budget() -> int | None:
    """Bytes that SCWM_MEMORY_BUDGET allows on the device; None: no bound.

    Raises:
        ScwmError: it is not a size such as 500M, 8G or 1.5T.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    size = re.fullmatch(r"(\d+(?:\.\d+)?)([MGT])B?", text.strip(), re.IGNORECASE)
    if size is None or float(size[1]) == 0:
        raise ScwmError(f"'{text}' is not a size.", "--memory-budget", "as in 500M, 8G or 1.5T")
    return int(float(size[1]) * UNITS[size[2].upper()])


def bound_memory() -> None:
    """Have this process refused what is beyond the budget: on a GPU by torch's allocator, else by
    the kernel, which counts what is reserved, some 0.5 GB more than what is in use."""
    budget = memory_budget()
    if budget is None:
        return
    import torch  # only where it is asked for: it takes seconds

    from scwm.inference import default_device

    if default_device().type == "cuda":
        number = int(os.environ.get("LOCAL_RANK", "0"))
        share = budget / torch.cuda.get_device_properties(number).total_memory
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0), number)
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (budget, hard))
