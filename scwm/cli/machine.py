"""The command that checks this machine."""

import argparse
import textwrap
from pathlib import Path

from scwm.cli.options import Parsers, command, json_option, print_json
from scwm.core.errors import ScwmError


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
    """`scwm doctor`: check packages, hardware, tools and data, with remedies.

    Raises:
        ScwmError: something necessary is missing.
    """
    from scwm.cli.doctor import examine

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
