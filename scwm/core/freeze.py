"""The freeze: hashes of what decides results, taken before the results are measured.

`config/frozen.json` holds them with the commit, one hash over them all, and the seed of the
confirmation data, which follows from that hash.
"""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scwm.core.config import load_benchmark, overrides_of, plain, resolve_config
from scwm.core.errors import ScwmError
from scwm.core.files import file_hash, refusal, write_json
from scwm.core.plugins import KINDS
from scwm.core.settings import Config, Settings
from scwm.core.sources import PACKAGE, sources
from scwm.core.yaml_files import CONFIG_DIR

NAME = "frozen.json"
DEFAULTS = "default settings"
CONFIGS = ("*.yaml", "methods/*.yaml", "claims/*.yaml", "datasets/*.yaml")
GIT_PLACES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
)  # a hook of another repository sets them
CODE = (  # renders the people, trains, scores and decides
    *("data/mannequins/*", "training/trainer.py"),
    *("evaluation/evaluate.py", "evaluation/transfer.py", "evaluation/study.py"),
    *("data/registry.py", "reporting/tables/claim_table.py"),
    *(f"{kind.folder}/*.py" for kind in KINDS),
)


@dataclass(frozen=True)
class Freeze:
    """What was frozen.

    Attributes:
        commit: of the files.
        files: SHA-256 by name: the default settings, and files of config/ and scwm/.
    """

    commit: str
    files: Mapping[str, str]

    @property
    def hash(self) -> str:
        """One SHA-256 over all files; it depends neither on the commit nor on the time."""
        return _digest(dict(self.files))

    @property
    def seed(self) -> int:
        """The seed of the confirmation data, from 0 to 2**31 - 1."""
        return int(self.hash, 16) % 2**31

    def content(self) -> dict[str, Any]:
        """Build the content of config/frozen.json."""
        files = dict(self.files)
        return {"commit": self.commit, "files": files, "hash": self.hash, "seed": self.seed}

    def changes(self) -> dict[str, str]:
        """Compare with the files as they are now: name -> added, altered or missing."""
        now = current_files()
        found = {name: "missing" for name in self.files.keys() - now.keys()}
        found |= {name: "added" for name in now.keys() - self.files.keys()}
        both = self.files.keys() & now.keys()
        found |= {name: "altered" for name in both if now[name] != self.files[name]}
        return dict(sorted(found.items()))

    def broken(self) -> list[str]:
        """List the frozen files that are altered or missing now; added ones break nothing."""
        return [name for name, change in self.changes().items() if change != "added"]


def current_files() -> dict[str, str]:
    """Hash the default settings, and the files that a freeze holds, as they are now."""
    paths = [path for pattern in CONFIGS for path in CONFIG_DIR.glob(pattern)]
    files = {f"config/{path.relative_to(CONFIG_DIR).as_posix()}": path for path in paths}
    files |= {f"scwm/{name}": PACKAGE / name for name in sources(CODE)}
    return {DEFAULTS: _digest(plain(Settings())), **{n: file_hash(p) for n, p in files.items()}}


def read_freeze() -> Freeze | None:
    """Read config/frozen.json; None without it.

    Raises:
        ScwmError: the file is not as `write_freeze` wrote it.
    """
    path = CONFIG_DIR / NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Freeze(content["commit"], content["files"])
        right = isinstance(found.commit, str) and content == found.content()
    except OSError as error:
        raise refusal(error, path) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        right = False
    if not right:
        raise ScwmError("The freeze is damaged.", path, "restore the file from git")
    return found


def frozen_seed(where: object) -> int:
    """Return the seed of the freeze.

    Args:
        where: the file that asks for the seed, for the error.

    Raises:
        ScwmError: nothing is frozen.
    """
    found = read_freeze()
    if found is None:
        raise ScwmError(
            f"The seed is frozen, but there is no config/{NAME}.", where, "run `scwm freeze`"
        )
    return found.seed


def hash_of_run(config: Config) -> str | None:
    """Return the hash of the freeze if it holds the settings of a run.

    It is None without a freeze, if frozen files have changed since, or if no frozen benchmark has
    these settings for the run's data set and method.
    """
    found = read_freeze()
    return found.hash if found and not found.broken() and _holds(found, config) else None


def _holds(found: Freeze, config: Config) -> bool:
    for name in found.files:
        if not re.fullmatch(r"config/[^/]+\.yaml", name):
            continue
        with suppress(ScwmError):  # the method may have no file
            benchmark = load_benchmark(CONFIG_DIR.parent / name)
            overrides = overrides_of(plain(benchmark), config.dataset)
            same = resolve_config(config.method, config.dataset, config.seed, overrides) == config
            if same and config.dataset in benchmark.datasets:
                return True
    return False


def write_freeze(again: bool = False) -> Path:
    """Write config/frozen.json from the committed files.

    Args:
        again: replace a freeze.

    Raises:
        ScwmError: a freeze exists and `again` is false, git is missing, or config/ and scwm/
            hold what is not committed.
    """
    path = CONFIG_DIR / NAME
    if path.exists() and not again:
        raise ScwmError(
            "There is a freeze already.",
            path,
            "compare with it by `scwm freeze --check`, or replace it by `scwm freeze --again`",
        )
    commit = git("rev-parse", "HEAD")
    if not commit or not git("ls-files", "config/config.yaml"):
        raise ScwmError(
            "A freeze names a commit, but this is no git checkout.",
            PACKAGE.parent,
            "call `scwm freeze` in a clone of the repository",
        )
    open_files = git("status", "--porcelain", "--", "config", "scwm", f":!config/{NAME}")
    if open_files is None:
        raise ScwmError("`git status` fails.", PACKAGE.parent, "call it, and correct what it says")
    if open_files:
        raise ScwmError(
            f"A freeze holds committed files, but these are not:\n{open_files}",
            PACKAGE.parent,
            "commit them, then call `scwm freeze` again",
        )
    write_json(Freeze(commit, current_files()).content(), path)
    return path


def git(*arguments: str) -> str | None:
    """Run git on the checkout that holds the package; None without one, or if git fails.

    A repository around the folder, or the one that GIT_DIR names, is not that of this project.
    """
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), *arguments]
    variables = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _digest(content: dict[str, Any]) -> str:
    """Hash canonical JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
