"""Commands on the user's own crops with a trained model."""

import argparse
import logging
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scwm.cli.options import (
    Parsers,
    command,
    device_option,
    folder,
    json_option,
    path_ending,
    positive,
    print_json,
)
from scwm.core.errors import ScwmError

if TYPE_CHECKING:
    from scwm.core.settings import Feature
    from scwm.inference.api import Model
    from scwm.inference.features import CropFeatures

logger = logging.getLogger(__name__)

RUN = "results/runs/mannequins/scwm/seed0"
FEATURES: tuple["Feature", ...] = ("global", "parts", "both")
CROPS = "files, and folders with their subfolders"


def add(parsers: Parsers) -> None:
    """Add `extract`, `rank`, `cluster` and `export`."""
    feature = _add_model(
        parsers,
        "extract",
        extract,
        "write the features of your own crops to a file",
        f"scwm extract {RUN} crops --out features.npz",
        f"scwm extract {RUN} crops --out viewer/crops.tsv",
    )
    feature.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help=CROPS)
    feature.add_argument(
        "--out",
        type=path_ending(".npz", ".npy", ".csv", ".parquet", ".tsv"),
        required=True,
        metavar="FILE",
        help=".npz, .npy, .csv, .parquet, or .tsv for TensorBoard's projector",
    )
    ranking = _add_model(
        parsers,
        "rank",
        rank,
        "rank a gallery of crops for each query: CSV, JSON, page",
        "scwm rank --queries query.jpg --gallery crops --out ranks",
        f"scwm rank {RUN} --queries query.jpg \\",
        "    --gallery crops --out ranks",
    )
    for side in ("--queries", "--gallery"):
        ranking.add_argument(
            side, type=Path, nargs="+", required=True, metavar="IMAGES", help=CROPS
        )
    ranking.add_argument("--top", type=positive, default=20, help="length of a list (default 20)")
    ranking.add_argument(
        "--names",
        choices=("auto", "market", "none"),
        default="auto",
        help="whether file names hold identity and camera, as 0002_c1s1_000451_03.jpg "
        "(default auto: if all do)",
    )
    ranking.add_argument(
        "--rerank", action="store_true", help="order by k-reciprocal neighbours, often better"
    )
    ranking.add_argument(
        "--min-similarity",
        type=_cosine,
        metavar="S",
        help="list no crop below S (see `scwm calibrate`)",
    )
    ranking.add_argument("--out", type=folder, required=True, metavar="DIR")
    clustering = _add_model(
        parsers,
        "cluster",
        cluster,
        "group unlabelled crops by identity: CSV, contact sheets",
        f"scwm cluster {RUN} crops --out clusters",
    )
    clustering.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help=CROPS)
    clustering.add_argument("--out", type=folder, required=True, metavar="DIR")
    for name, kind, text in (
        ("--eps", float, "radius of DBSCAN, 0 to 1: a larger one joins more"),
        ("--min-samples", positive, "number of crops around a core"),
        ("--k1", positive, "neighbours; about the number of crops per identity"),
        ("--k2", positive, "neighbours of the query expansion"),
    ):
        clustering.add_argument(name, type=kind, metavar="N", help=f"{text} (default: the model's)")
    exporting = command(
        parsers,
        "export",
        export,
        "write a model as TorchScript, ONNX or safetensors, with its card",
        f"scwm export {RUN} --out model.pt",
    )
    exporting.add_argument("run", type=Path, metavar="RUN", help="folder with model.pt")
    exporting.add_argument("--feature", choices=FEATURES, help="default: the model's own")
    exporting.add_argument("--half", action="store_true", help="float16 weights, .safetensors only")
    exporting.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=".pt (TorchScript), .onnx or .safetensors; the card has the suffix .md",
    )


def _cosine(text: str) -> float:
    """Read an option's number from -1 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from -1 to 1")
    return value


def _add_model(parsers: Parsers, *words: Any) -> argparse.ArgumentParser:
    parser = command(parsers, *words)
    optional = parser.prog.endswith(" rank")  # elsewhere the first crops would be taken for it
    default = "; default: the model of the package, trained on rendered people" if optional else ""
    parser.add_argument(
        "model",
        type=Path,
        nargs="?" if optional else None,
        metavar="MODEL",
        help=f"a run's folder, its model.pt or an exported .safetensors{default}",
    )
    parser.add_argument("--feature", choices=FEATURES, help="default: the model's own")
    parser.add_argument("--strict", action="store_true", help="stop at an unreadable image")
    parser.add_argument(
        "--batch",
        type=positive,
        metavar="N",
        help="crops computed at once; a smaller number needs less memory (default: the model's)",
    )
    device_option(parser)
    json_option(parser)
    return parser


def extract(options: argparse.Namespace) -> None:
    """`scwm extract`: write features of crops."""
    from scwm.inference.feature_files import check_features_file, save_features

    check_features_file(options.out)
    found, report = _described(options, _open(options, options.images), options.images)
    save_features(found, options.out)
    if options.json:
        print_json(report | {"out": str(options.out)})
    else:
        print(options.out)


def rank(options: argparse.Namespace) -> None:
    """`scwm rank`: order the gallery by similarity to each query."""
    from scwm.core.files import write_text
    from scwm.inference.api import is_model
    from scwm.inference.pages import rank_page
    from scwm.inference.rank_lists import as_json, rank_crops, write_rank_lists

    paths = [*options.queries, *options.gallery]
    model = _open(options, paths)
    for path in paths:
        if options.model is None and is_model(path):
            raise ScwmError("A model is among the crops.", path, "give it before --queries")
    query, gallery = (_described(options, model, p)[0] for p in (options.queries, options.gallery))
    choice = options.top, options.names, options.rerank, options.min_similarity
    lists = rank_crops(query, gallery, *choice)
    write_rank_lists(lists, options.out)
    title = f"Rank lists of {len(query.files):,} queries in {len(gallery.files):,} crops"
    page = write_text(rank_page(lists, title, _named(options, model)), options.out / "ranks.html")
    if lists.message:
        logger.warning(lists.message)
    if options.json:
        print_json(as_json(lists))
        return
    print(*lists.rules, sep="\n")
    if lists.scores:
        text = ", ".join(f"{name} {100 * value:.1f}" for name, value in lists.scores.items())
        print(f"{text}, over {lists.scored:,} of {len(lists.queries):,} queries with a match")
    print(page)


def cluster(options: argparse.Namespace) -> None:
    """`scwm cluster`: group unlabelled crops by identity."""
    from scwm.core.config import changed
    from scwm.core.files import write_text
    from scwm.inference.clusters import cluster_crops, write_clusters
    from scwm.inference.pages import cluster_page

    model = _open(options, options.images)
    given = {key: getattr(options, key) for key in ("eps", "min_samples", "k1", "k2")}
    given = {key: value for key, value in given.items() if value is not None}
    config = changed(model.config, {"pseudo_labels": given}, "cluster")
    found, _ = _described(options, model, options.images)
    clusters = cluster_crops(found, config)
    write_clusters(clusters, options.out / "clusters.csv")
    text = cluster_page(clusters, "Identities of crops", _named(options, model))
    page = write_text(text, options.out / "clusters.html")
    loose = int((clusters.labels < 0).sum())
    if clusters.message:
        logger.warning(clusters.message)
    logger.info(f"clustered with {clusters.settings}")
    if options.json:
        of = dict(zip(map(str, clusters.files), clusters.labels.tolist(), strict=True))
        print_json({"identities": clusters.count, "unclustered": loose, "identity": of})
    else:
        print(f"{clusters.count:,} identities, {loose:,} crops unclustered")
        print(page)


def export(options: argparse.Namespace) -> None:
    """`scwm export`: write a model as one checked file for other programs, with its card."""
    from scwm.inference.api import load_model
    from scwm.inference.export import export

    model = load_model(options.run)
    difference = export(model, options.run, options.out, options.feature, options.half)
    logger.info("on random crops the features differ from the model's by at most %.1g", difference)
    print(options.out, options.out.with_suffix(".md"), sep="\n")


def _open(options: argparse.Namespace, paths: list[Path]) -> "Model":
    """Load the model, if the output does not lie among the crops `paths`."""
    from scwm.core import allocator
    from scwm.core.config import changed
    from scwm.data.files import check_outside
    from scwm.inference.api import SHIPPED, load_model

    check_outside(options.out, paths)
    allocator.keep_freed_memory()
    if options.model is None:
        logger.info(f"model: {SHIPPED.name}, which comes with the package")
    model = load_model(options.model or SHIPPED)
    if options.batch is None:
        return model
    config = changed(model.config, {"evaluation": {"batch": options.batch}}, "--batch")
    return replace(model, config=config)


def _named(options: argparse.Namespace, model: "Model") -> str:
    """Name the model of a page: its file or run, and what it was trained on."""
    from scwm.inference.api import SHIPPED

    return f"{options.model or f'{SHIPPED.name} of the package'} ({model})"


def _described(
    options: argparse.Namespace, model: "Model", paths: list[Path]
) -> tuple["CropFeatures", dict[str, Any]]:
    """Extract features of crops; warn of images that cannot be read.

    Returns:
        The features and a report on them.
    """
    from scwm.inference.features import crop_features, find_crops

    files = find_crops(paths)
    start = time.perf_counter()
    found = crop_features(model, files, options.feature, options.strict)
    seconds = time.perf_counter() - start
    report = {
        "crops": len(found.files),
        "feature": found.feature,
        "dimensions": found.features.shape[1],
        "unreadable": [str(error.where) for error in found.unreadable],
        "seconds": round(seconds, 3),
        "crops_per_second": round(len(files) / seconds, 1),
    }
    for error in found.unreadable:
        logger.warning("image passed over: %s", error)
    if found.unreadable:
        logger.warning(f"{len(found.unreadable):,} of {len(files):,} images could not be read")
    logger.info(
        f"{len(found.files):,} crops, {found.feature} feature of {found.features.shape[1]:,} "
        f"numbers, in {seconds:.1f} s ({len(files) / seconds:,.0f} a second)"
    )
    return found, report
