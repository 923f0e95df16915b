"""The command that freezes settings and claims."""

import argparse

from scwm.cli.options import Parsers, command
from scwm.core.errors import ScwmError


def add(parsers: Parsers) -> None:
    """Add `freeze`."""
    freezing = command(
        parsers,
        "freeze",
        freeze,
        "record hashes of settings, claims and code before they are tested",
        "scwm freeze",
        "scwm freeze --check",
    )
    choice = freezing.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="list what has changed since")
    choice.add_argument("--again", action="store_true", help="replace config/frozen.json")


def freeze(options: argparse.Namespace) -> None:
    """`scwm freeze`: write config/frozen.json, or compare with it."""
    from scwm.core.freeze import write_freeze

    if options.check:
        _check()
    else:
        print(write_freeze(options.again))


def _check() -> None:
    """List files that were added, altered or removed since the freeze."""
    from scwm.core.freeze import NAME, read_freeze
    from scwm.core.yaml_files import CONFIG_DIR

    path, found = CONFIG_DIR / NAME, read_freeze()
    if found is None:
        raise ScwmError("Nothing is frozen.", path, "run `scwm freeze`")
    changes = found.changes()
    for name, change in changes.items():
        print(f"{change} after the freeze: {name}")
    if broken := sum(change != "added" for change in changes.values()):
        raise ScwmError(
            f"{broken} of {len(found.files)} frozen files are altered or missing.",
            path,
            f"see `git diff {found.commit[:10]}`. Recorded results keep the freeze of their "
            "commit; `scwm freeze --again` begins another one, with other people",
        )
    print(f"unchanged since the freeze at commit {found.commit}: {len(found.files)} files")
