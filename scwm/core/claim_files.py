"""The claims of `config/claims`, one per file: their keys, and which a benchmark can decide."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

from scwm.core.checks import checked
from scwm.core.errors import ScwmError, suggest
from scwm.core.settings import Section
from scwm.core.yaml_files import CONFIG_DIR, names_in, read_yaml


class Against(Section):
    """What the metric is compared with; a `value` replaces method and metric."""

    method: str | None = None
    metric: str | None = None
    value: float | None = None
    times: float = 1.0


class ClaimFile(Section):
    """The keys of a claim's file; docs/contributing.md explains each."""

    statement: str
    metric: str
    method: str
    against: Against
    at_least: float = 0.0
    datasets: list[str] | None = None
    kind: Literal["required", "informative"]


def read_claim(path: Path) -> ClaimFile:
    """Read a claim's file.

    Raises:
        ScwmError: a key is unknown or missing, or its value is not allowed.
    """
    return checked(
        ClaimFile, read_yaml(path), f"{path}, claim '{path.stem}'", "docs/contributing.md"
    )


def check_claims(names: Iterable[str], datasets: Collection[str], where: object) -> None:
    """Check that every name is that of a file in config/claims, which these data sets can decide.

    Raises:
        ScwmError: naming the first that is not, or that is not a required claim of any of them.
    """
    for name in names:
        known = names_in(CONFIG_DIR / "claims")
        if name not in known:
            hint = suggest(name, known)
            raise ScwmError(f"Unknown claim '{name}'.{hint}", where, "choose from config/claims")
        claim = read_claim(CONFIG_DIR / "claims" / f"{name}.yaml")
        own = datasets if claim.datasets is None else claim.datasets
        if claim.kind != "required" or not set(own) & set(datasets):
            raise ScwmError(
                f"The claim '{name}' is not a required claim of {', '.join(datasets)}.",
                where,
                "name only claims that the benchmark can decide, or give claims=null",
            )
