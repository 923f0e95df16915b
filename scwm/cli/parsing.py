"""The command that shows how a model parses people into parts."""

import argparse
from pathlib import Path

from scwm.cli.inference import CROPS, RUN
from scwm.cli.options import Parsers, command, device_option, folder, open_run, path_ending
from scwm.core.errors import ScwmError


def add(parsers: Parsers) -> None:
    """Add `parse`."""
    parts = command(
        parsers,
        "parse",
        parse,
        "write part masks of crops, or draw every stage of the parsing",
        f"scwm parse {RUN} crops --masks masks",
        f"scwm parse {RUN} crops --output parsing.png",
    )
    model = "a run's folder, its model.pt or an exported .safetensors; with --store a run's folder"
    parts.add_argument("run", type=Path, metavar="MODEL", help=model)
    parts.add_argument("files", type=Path, nargs="*", metavar="IMAGES", help=f"crops: {CROPS}")
    parts.add_argument("--store", type=Path, help="show its training images instead of IMAGES")
    parts.add_argument(
        "--output",
        type=path_ending(".png", ".svg"),
        metavar="FILE",
        help=".png or .svg: every stage; IMAGES are parsed as one pseudo identity",
    )
    parts.add_argument(
        "--masks", type=folder, metavar="DIR", help="write a PNG of part labels for each of IMAGES"
    )
    parts.add_argument(
        "--images", type=int, metavar="N", help="number of training images (default 10)"
    )
    parts.add_argument("--seed", type=int, help="seed of their draw (default 0)")
    device_option(parts)


def parse(options: argparse.Namespace) -> None:
    """`scwm parse`: write part masks and a picture of every stage of the parsing."""
    from scwm.core import allocator
    from scwm.data.files import check_outside

    if bool(options.files) == bool(options.store):
        raise ScwmError("Give either images or a store.", "IMAGES, --store", "name one of them")
    if not (options.output or options.masks):
        raise ScwmError("Nothing to write.", "--output, --masks", "name one of them, or both")
    if options.masks and not options.files:
        raise ScwmError("Masks need images.", "--masks", "give IMAGES")
    if options.files and (options.images, options.seed) != (None, None):
        raise ScwmError("These choose images of a store.", "--images, --seed", "give --store")
    for out in filter(None, (options.masks, options.output)):
        check_outside(out, options.files)
    allocator.keep_freed_memory()
    if options.masks:
        from scwm.inference.masks import write_masks

        print(write_masks(options.run, options.files, options.masks))
    if options.output:
        _draw_stages(options)
        print(options.output)


def _draw_stages(options: argparse.Namespace) -> None:
    from scwm.inference.parsing_stages import crop_stages, store_stages
    from scwm.reporting.figures.stages import draw_stages

    if options.store:
        store = open_run(options.run, options.store)[1]
        choice = (10 if options.images is None else options.images), options.seed or 0
        shown = store_stages(options.run, store, *choice)
    else:
        shown = crop_stages(options.run, options.files)
    draw_stages(*shown, options.output)
