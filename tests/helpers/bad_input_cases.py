"""Bad input of every kind: a command line, and what its one error must tell."""

import os
import pickle
import random
from dataclasses import dataclass, field

import torch
from bad_files import (
    FIRST,
    IMAGES,
    WHOLE,
    Prepare,
    Ran,
    csv_rows,
    damaged_store,
    environment,
    file,
    finished_run,
    image,
    instead,
    model,
    msmt,
    objects,
    registry,
    rename,
    run_config,
    small_disk,
    tarred_link,
    tree,
    write,
    zipped,
)

from scwm.core.yaml_files import CONFIG_DIR
from scwm.data import archives, store

CONFIG = "config --method scwm --dataset d --out x"
GET, TOY = "data get mannequins --out x --source", "data get toy --out x"
CROPS, MSMT = "data get folder --source crops --out x", "data get msmt17 --source msmt --out x"
DECODE = "data store mannequins --root tree --out x --size 64x32"
TRAIN, DAMAGED = "train run --store toy", "train run --store damaged"


@dataclass
class Case:
    """A command line, what its error must tell, and what is laid out before it."""

    words: str
    told: list[str]
    prepare: Prepare = lambda patch: None
    more: list[str] = field(default_factory=list)


CASES = {
    # Configuration
    "unknown key": Case(f"{CONFIG} --set epochs=5", ["key 'epochs'", "mean 'training.epochs'"]),
    "misspelt key": Case(f"{CONFIG} --set training.epoch=5", ["mean 'training.epochs'?"]),
    "out of range": Case(f"{CONFIG} --set training.epochs=0", ["training.epochs is 0", "from 1"]),
    "not a number": Case(f"{CONFIG} --set memory.momentum=.nan", ["memory.momentum is nan"]),
    "nan as text": Case(f"{CONFIG} --set memory.momentum=nan", ["memory.momentum is 'nan'"]),
    "text for a number": Case(f"{CONFIG} --set augment.pad=ten", ["augment.pad is 'ten'"]),
    "unknown method": Case(
        "config --method scvm --dataset d --out x", ["'scvm'", "mean 'scwm'?", "choose one of"]
    ),
    "unknown backbone": Case(f"{CONFIG} --set model.backbone=resnet51", ["resnet51", "resnet50"]),
    "unknown strategy": Case(
        f"{CONFIG} --set memory.part_strategy=hard", ["memory.part_strategy", "hard_mining"]
    ),
    "image size": Case(f"{CONFIG} --set model.image_size=[64]", ["image_size is [64]", "32 to"]),
    "lonely image": Case(f"{CONFIG} --set training.virtual_batch=1", ["virtual_batch", "divisor"]),
    "no value": Case(f"{CONFIG} --set training.epochs", ["'training.epochs'", "key.path=value"]),
    "value not YAML": Case(f"{CONFIG} --set training.epochs=[1", ["training.epochs=[1", "YAML"]),
    "no such month": Case(f"{CONFIG} --set seed=2001-99-99", ["2001-99-99", "quotes"]),
    "nested too deep": Case(f"{CONFIG} --overrides {'[' * 9999}", ["Not valid JSON"]),
    "other method's name": Case(f"{CONFIG} --set method=stripes", ["--set method", "--method"]),
    "negative seed": Case(f"{CONFIG} --seed -1", ["seed is -1", "from 0"]),
    "overrides not JSON": Case(f"{CONFIG} --overrides {{", ["--overrides", "JSON", "as in"]),
    "overrides no mapping": Case(f"{CONFIG} --overrides 5", ["mapping", "overrides"]),
    "overrides list": Case(
        f"{CONFIG} --overrides [] --benchmark", ["mapping", "--overrides"],
        more=[str(CONFIG_DIR / "config.yaml")],
    ),
    "overrides flat": Case(
        f"{CONFIG} --overrides", ["'training.epochs' is not a single key"],
        more=['{"training.epochs": 5}'],
    ),
    "name with a command": Case(
        "config --method scwm --out x --dataset", ["dataset is 'd; rm -rf /'"], more=["d; rm -rf /"]
    ),
    "name with a path": Case("config --method scwm --out x --dataset ../d", ["dataset is '../d'"]),
    # Files of a run
    "no config": Case(TRAIN, ["run/config.yaml", "Cannot read"]),
    "config not YAML": Case(TRAIN, ["run/config.yaml", "YAML"], run_config("a: [1")),
    "config binary": Case(TRAIN, ["run/config.yaml", "UTF-8"], run_config(b"\xff\x00")),
    "config a list": Case(TRAIN, ["run/config.yaml", "mapping"], run_config("- 1")),
    "config empty": Case(TRAIN, ["run/config.yaml", "mapping"], run_config("")),
    "key twice": Case(TRAIN, ["run/config.yaml", "'a' stands twice"], run_config("a: 1\na: 2")),
    "key missing": Case(
        TRAIN, ["'seed' is missing", "run/config"], run_config(lambda c: c.pop("seed"))
    ),
    "section a number": Case(
        TRAIN, ["training is 5", "run/config"], run_config(lambda c: c.update(training=5))
    ),
    "no store": Case("train run --store absent", ["absent", "scwm data store"], run_config()),
    "store.json damaged": Case(
        DAMAGED, ["not an image store", "damaged"], damaged_store("store.json", b"{")
    ),
    "store.json of another kind": Case(
        DAMAGED, ["not an image store"], damaged_store("store.json", b'{"a":1}')
    ),
    "images.npy empty": Case(DAMAGED, ["not an image store"], damaged_store("images.npy", b"")),
    "images.npy cut": Case(DAMAGED, ["not an image store"], damaged_store("images.npy", None)),
    "images.npy with code": Case(
        DAMAGED, ["not an image store"], damaged_store("images.npy", objects())
    ),
    "index.csv cut": Case(DAMAGED, ["index.csv is cut off"], damaged_store("index.csv", None)),
    "store of other images": Case(
        TRAIN, ["toy", "model.image_size"],
        run_config(lambda config: config["model"].update(image_size=[64, 64])),
    ),
    "no model": Case("evaluate run --store toy", ["run/model.pt", "train the run"], run_config()),
    "model damaged": Case(
        "evaluate run --store toy", ["run/model.pt", "Not a model"], model(b"no")
    ),
    "model with code": Case(
        "evaluate run --store toy", ["run/model.pt"], model(pickle.dumps(Ran(), 2))
    ),
    "crop absent": Case("parse run a.png --output x.png", ["a.png", "no such file"], run_config()),
    "crops and store": Case("parse run a.png --store toy --output x.png", ["IMAGES, --store"]),
    "no runs": Case(
        "table main --datasets d --methods scwm --seeds 0 --out x", ["d/scwm/seed0", "--partial"]
    ),
    "metrics damaged": Case(
        "table main --runs . --datasets d --methods m --seeds 0 --out x",
        ["d/m/seed0", "unreadable"], finished_run("{"),
    ),
    "no claims": Case("check a.csv", ["a.csv", "scwm table"], file("a.csv", "a\n1\n")),
    # Weights
    "weights absent": Case("weights resnet50 a.pt --out x", ["'a.pt'", "no such file"]),
    "weights damaged": Case("weights resnet50 a.pt --out x", ["a.pt"], file("a.pt", b"PK\3\4")),
    "weights with code": Case(
        "weights resnet50 a.pt --out x", ["a.pt"], file("a.pt", pickle.dumps(Ran(), 2))
    ),
    "weights no tensors": Case(
        "weights resnet50 a.pt --out x", ["a.pt", "state dict"],
        lambda patch: torch.save({"epoch": 3}, "a.pt"),
    ),
    # Where data come from
    "unknown data set": Case("data get market1502 --out x", ["'market1502'", "mean 'market1501'?"]),
    "no archive": Case("data get market1501 --source a.zip --out x", ["a.zip", "not exist"]),
    "variable to nowhere": Case(
        "data get market1501 --out x", ["gone.zip", "SCWM_MARKET1501"],
        environment("SCWM_MARKET1501", "gone.zip"),
    ),
    "no source": Case("data get msmt17 --out x", ["MSMT17", "--source", "SCWM_MSMT17"]),
    "terms": Case("data get personx --out x", ["accept personx", "--source", "SCWM_PERSONX"]),
    "no terms": Case("data accept mannequins", ["no terms to accept"]),
    "no server": Case(
        f"{GET} http://127.0.0.1:9/a.zip", ["127.0.0.1:9", "refused"],
        lambda patch: patch.setattr(random, "uniform", lambda low, high: low),
    ),
    "archive empty": Case(f"{GET} a.zip", ["a.zip", "unpack", "0 bytes"], file("a.zip", b"")),
    "archive cut": Case(f"{GET} a.zip", ["a.zip", "cut off"], file("a.zip", WHOLE[:-100])),
    "archive damaged": Case(
        f"{GET} a.zip", ["a.zip", "CRC"], file("a.zip", WHOLE.replace(b"IDAT", b"IDAX"))
    ),
    "archive a page": Case(f"{GET} a.zip", ["a.zip", "neither a zip"], file("a.zip", "<html>")),
    "archive of something else": Case(
        f"{GET} a.zip", ["missing bounding_box_train"], file("a.zip", zipped({"a/b.txt": b"c"}))
    ),
    "archive leads out": Case(
        f"{GET} a.zip", ["a.zip", "../out", "do not trust"], file("a.zip", zipped({"../out": b""}))
    ),
    "archive with a link": Case(
        f"{GET} a.zip", ["a.zip", "link"], file("a.zip", zipped({"a": b"/etc"}, link=True))
    ),
    "archive with a link (tar)": Case(f"{GET} a.tgz", ["link"], file("a.tgz", tarred_link())),
    "text for an archive": Case(f"{GET} a.rar", ["a.rar", "zip or tar"], file("a.rar", "Rar!")),
    "user's files in the way": Case(
        f"{GET} tree", ["x", "did not put"], tree(lambda root: write("x/a", ""))
    ),
    "a file in the way": Case(
        f"{GET} tree", ["x", "a file is in"], tree(lambda root: write("x", ""))
    ),
    "pointer damaged": Case(
        "data store folder --root x --size 64x32 --out y", ["x/source.json", "scwm data get"],
        file("x/source.json", "{"),
    ),
    "registry key": Case(TOY, ["'licens'", "'licence'?"], registry("licens: a")),
    "registry type": Case(TOY, ["env is 5", "text"], registry("env: 5")),
    "registry url a text": Case(TOY, ["urls is", "a list"], registry("source: {urls: a}")),
    "registry two sources": Case(TOY, ["several"], registry("source: {path: a, preset: demo}")),
    "registry no layout": Case("data get b --out x", ["'layout'"], registry("")),
    "registry layout": Case(
        "data get c --out x --source tree", ["Unknown layout 'zip'", "market1501"],
        lambda patch: (registry("")(patch), write("datasets/c.yaml", "{title: C, layout: zip}")),
    ),
    "registry name": Case("data get ../b --out x", ["unknown data set '../b'"], registry("")),
    "registry option": Case(
        "data get toy --out x --source tree", ["options of toy"], registry("options: {parts: 3}")
    ),
    "registry option of another type": Case(
        "data get c --out x --source tree", ["options of c", "layouts/msmt17.py"],
        lambda patch: (
            registry("")(patch),
            write("datasets/c.yaml", "{title: C, layout: msmt17, options: {train_lists: 5}}"),
        ),
    ),
    "registry not YAML": Case(TOY, ["toy.yaml"], registry("- [")),
    "unknown preset": Case(TOY, ["'huge'"], registry("source: {preset: huge}")),
    # What the data are
    "wrong names": Case(f"{GET} tree", ["a.png", "<identity>_c"], rename(FIRST, "query/a.png")),
    "label too large": Case(
        f"{GET} tree", [f"{10**19}_c1"], rename(FIRST, f"bounding_box_train/{10**19}_c1.png")
    ),
    "label not a number": Case(f"{GET} tree", ["1.5_c1"], rename(FIRST, "query/1.5_c1.png")),
    "name not UTF-8": Case(
        f"{GET} tree", ["0001_c1", "rename"], rename(FIRST, os.fsdecode(b"query/0001_c1\xff.png"))
    ),
    "empty split": Case(
        f"{GET} tree", ["query", "no images"],
        tree(lambda root: [path.unlink() for path in (root / "query").iterdir()]),
    ),
    "missing split": Case(f"{GET} tree", ["missing query"], rename("query", "queries")),
    "no images to train on": Case(
        CROPS, ["no image in train", "supply"],
        csv_rows("a.png,1,1,query", "c.png,1,2,gallery", columns="path,identity,camera,split"),
    ),
    "other counts": Case("data get market1501 --out x --source tree", ["standard 12,936"], tree()),
    "one image each at one camera": Case(
        CROPS, ["no query has a match in the gallery\n", "correct identities"],
        csv_rows("a.png,1,1", "c.png,2,1"),
    ),
    "no match": Case(
        f"{GET} tree", ["gallery from another camera", "correct identities"],
        tree(lambda r: [p.rename(p.with_name("3" + p.name[4:])) for p in r.glob("query/*")]),
    ),
    "masks missing": Case(
        f"{GET} tree", ["without a mask", "masks/bounding_box_train"],
        tree(lambda root: (root / "masks").mkdir()),
    ),
    "CSV without a column": Case(
        CROPS, ["images.csv", "columns are identity, camera"],
        csv_rows("1,1", columns="identity,camera"),
    ),
    "CSV with a misspelt column": Case(
        CROPS, ["images.csv", "Did you mean 'identity'?"],
        csv_rows("a.png,1", columns="path,identiy"),
    ),
    "CSV label": Case(
        CROPS, ["images.csv, line 2", "identity 'one' is not a whole"], csv_rows("a.png,one,1")
    ),
    "CSV fraction": Case(CROPS, ["line 3", "whole"], csv_rows("a.png,1,1", "a.png,1,1.5")),
    "CSV image": Case(CROPS, ["no image 'b.png'", "line 2"], csv_rows("b.png,1,1")),
    "CSV split": Case(
        CROPS, ["split 'test'", "line 2", "train, query"],
        csv_rows("a.png,1,1,test", columns="path,identity,camera,split"),
    ),
    "CSV short": Case(CROPS, ["line 2"], csv_rows("a.png")),
    "CSV of junk": Case(CROPS, ["junk"], csv_rows("a.png,-1,1")),
    "CSV empty": Case(CROPS, ["names no image"], csv_rows()),
    "list line": Case(
        MSMT, ["list_train.txt, line 1: a.jpg", "<identity>"], msmt(b"a.jpg 0\n")
    ),
    "list leads out": Case(MSMT, ["../0_0_1_a", "outside"], msmt(b"../0_0_1_a.jpg 0")),
    "list binary": Case(MSMT, ["UTF-8"], msmt(b"\xff\xfe0_0_1 0")),
    "list empty": Case(MSMT, ["list_train.txt"], msmt(b"\n\n")),
    "list image absent": Case(MSMT, ["1 of 1 images", "0_0_1_a"], msmt(b"0_0_1_a 0")),
    # Decoding
    "no root": Case("data store folder --root absent --size 64x32 --out x", ["absent"]),
    "image empty": Case(DECODE, [FIRST, "0 bytes"], instead(FIRST, b"")),
    "image cut": Case(DECODE, [FIRST], instead(FIRST, image()[:60])),
    "image a text": Case(DECODE, [FIRST, "5 bytes"], instead(FIRST, b"hello")),
    "image of one pixel": Case(DECODE, [FIRST, "1x1"], instead(FIRST, image(1, 1))),
    "image of 32 bits": Case(
        DECODE, [FIRST, "8 bits"], instead(FIRST, image(mode="F", kind="tiff"))
    ),
    "mask of another size": Case(
        DECODE, [f"masks/{FIRST}", "size"],
        tree(lambda r: [write(r / "masks" / name, image(9, 9, "L")) for name in IMAGES]),
    ),
    "mask without a name": Case(
        DECODE, ["mask value 60", "mask_parts"],
        tree(lambda r: [write(r / "masks" / name, image(mode="L")) for name in IMAGES]),
    ),
    "user's files for a store": Case(
        DECODE, ["did not put"], tree(lambda root: write("x/thesis.tex", ""))
    ),
    # The disk
    "disk full for a config": Case(
        "config --method scwm --dataset d --out /dev/full", ["No space left", "/dev/full", "room"]
    ),
    "folder for a config": Case("config --method scwm --dataset d --out .", ["Is a directory"]),
    "file for a folder": Case(
        "config --method scwm --dataset d --out a/x", ["a", "File exists"], file("a", "")
    ),
    "file for a folder of weights": Case(
        "weights resnet50 b.pt --out a/x", ["a", "File exists"],
        lambda patch: (write("a", ""), torch.save({"a": torch.zeros(1)}, "b.pt")),
    ),
    "disk full for a store": Case(
        DECODE, ["the store needs 36,864 bytes, 9 are free", "room"], small_disk(store, tree())
    ),
    "disk full for an archive": Case(
        f"{GET} a.zip", ["at most 9 fit", "room"], small_disk(archives, file("a.zip", WHOLE))
    ),
}  # fmt: skip
