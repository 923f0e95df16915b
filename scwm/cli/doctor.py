"""The command that checks this machine, with a remedy for each problem."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from scwm.cli.options import Parsers, command, json_option, print_json
from scwm.core.errors import ScwmError
from scwm.core.files import check_writable

GIB = 1 << 30
DISK, MEMORY = 5, 4  # GiB that the embedded benchmark needs
OPTIONAL = {  # purpose of each optional package
    "faiss-cpu": "faster neighbour search on a CPU",
    "snakemake": "the benchmark: pip install 'scwm[workflow]'",
    "dvc": "versions of tables and plots: pip install 'scwm[workflow]'",
    "h5py": "key points of Market-1501",
    "infomap": "clustering by Infomap: pip install 'scwm[infomap]'",
    "onnx": "export: pip install 'scwm[export]'",
    "pyarrow": "features as .parquet: pip install pyarrow",
    "tensorboard": "event files of a training: pip install tensorboard",
    "timm": "backbones of timm: pip install timm",
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")


def add(parsers: Parsers) -> None:
    """Add `doctor`."""
    checking = command(
        parsers,
        "doctor",
        doctor,
        "list what is installed and found here, and what to do",
        "scwm doctor",
    )
    checking.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="default: results"
    )
    json_option(checking)


def doctor(options: argparse.Namespace) -> None:
    """`scwm doctor`: check packages, hardware, tools and data, with remedies."""
    found = examine(options.results)
    if options.json:
        print_json([vars(check) for check in found])
    else:
        width = max(len(one.name) for one in found)
        for one in found:
            print(f"{one.status:8}  {one.name:{width}}  {one.found}".rstrip())
            if one.remedy:
                print(textwrap.indent(textwrap.fill(one.remedy, 70), " " * 10))
    missing = [one.name for one in found if one.status == "missing"]
    if missing:
        raise ScwmError(f"Missing: {', '.join(missing)}.", remedy="see the list above")


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        status: ok; missing: absent and necessary; optional: absent, and necessary for few users.
        found: the version, name or amount found.
        remedy: what to do if the status is not ok, otherwise "".
    """

    name: str
    status: str
    found: str
    remedy: str = ""


def examine(results: Path) -> list[Check]:
    """Run all checks, which take about a second and change nothing."""
    return [*_packages(), *_hardware(), *_tools(), *_places(results), *_data()]


def _packages() -> Iterator[Check]:
    wanted, found = (3, 11), sys.version_info[:3]
    yield Check(
        "Python",
        "ok" if found >= wanted else "missing",
        ".".join(map(str, found)),
        "" if found >= wanted else "install Python 3.11 or newer",
    )
    try:
        needed = metadata.requires("scwm") or []
    except metadata.PackageNotFoundError:
        needed = []
        yield Check("scwm", "missing", "not installed", "pip install -e . in its folder")
    for line in needed:
        if "extra ==" in line:
            continue
        name, least = re.split(r">=", line)
        yield _package(name, least)
    for name, purpose in OPTIONAL.items():
        check = _package(name, "0")
        missing = check.status != "ok"
        yield Check(name, "optional", "–", purpose) if missing else check


def _package(name: str, least: str) -> Check:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "missing", "–", f"pip install '{name}>={least}'")
    if _numbers(version) < _numbers(least):
        return Check(name, "missing", version, f"pip install '{name}>={least}'")
    return Check(name, "ok", version)


def _numbers(version: str) -> tuple[int, ...]:
    """Parse a version: ``2.14.1+cpu`` -> (2, 14, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _hardware() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Check("GPU", "ok", f"{names} (CUDA {torch.version.cuda})")
    elif shutil.which("nvidia-smi"):
        yield Check(
            "GPU", "missing", f"torch {torch.__version__} finds none",
            "there is an NVIDIA driver: install a CUDA build of torch",
        )  # fmt: skip
    else:
        yield Check("GPU", "optional", "none", "the embedded benchmark does not need one")
    yield Check("CPU instructions", "ok", torch.backends.cpu.get_cpu_capability())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("cores", "ok", f"{cores}; torch uses {torch.get_num_threads()} threads")
    threads = ", ".join(f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name))
    yield Check("threads", "ok", threads or "no variable set",
                "" if threads else "several jobs at once: OMP_NUM_THREADS=1 for each")  # fmt: skip
    memory = _memory()
    if memory:
        enough = memory >= MEMORY * GIB
        yield Check("memory", "ok" if enough else "missing", f"{memory / GIB:.1f} GiB free",
                    "" if enough else f"{MEMORY} GiB are needed: close other programs")  # fmt: skip


def _memory() -> int:
    """Return the available memory in bytes; 0 if it is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else 0


def _tools() -> Iterator[Check]:
    for names, remedy in (
        (("git",), "the commit is not recorded: install git"),
        (("conda", "mamba"), "only `snakemake --use-conda` needs it"),
    ):
        found = next((path for name in names if (path := shutil.which(name))), None)
        version = _output(found, "--version") if found else "–"
        status = "ok" if found else "optional"
        yield Check(" or ".join(names), status, version, "" if found else remedy)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0]


def _places(results: Path) -> Iterator[Check]:
    try:
        folder = check_writable(results)
        yield Check("results", "ok", f"{folder} is writable")
    except ScwmError as error:
        yield Check("results", "missing", f"{error.where}: {error.what}", "give --results DIR")
        return
    free = shutil.disk_usage(folder).free
    enough = free >= DISK * GIB
    yield Check("disk", "ok" if enough else "missing", f"{free / GIB:.1f} GiB free",
                "" if enough else f"{DISK} GiB are needed: make room")  # fmt: skip


def _data() -> Iterator[Check]:
    from scwm.core.yaml_files import CONFIG_DIR, names_in
    from scwm.data import data_names
    from scwm.data.entries import lookup
    from scwm.data.inspection import whereabouts

    for folder in ("methods", "claims", "datasets"):
        try:
            names_in(CONFIG_DIR / folder)
        except ScwmError as error:
            yield Check("config", "missing", str(error.where), str(error.remedy))
            return
    for name in data_names():
        try:
            entry, place = lookup(name), whereabouts(name)
        except ScwmError as error:
            remedy = f"{error.where}: {error.remedy}"
            yield Check(f"data {name}", "missing", error.what, remedy)
            continue
        here = place != "not here"
        accept = f", or run `scwm data accept {name}`" if entry.terms else ""
        variable = f"set {entry.env}=PATH (archive or folder){accept}; see `scwm data card {name}`"
        yield Check(f"data {name}", "ok" if here else "optional", place, "" if here else variable)
