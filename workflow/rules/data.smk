rule get_dataset:
    """Download, unpack or render one data set, or verify a local source of it."""
    input:
        code=lambda wildcards: dataset_code(wildcards.dataset),
    output:
        manifest="data/raw/{dataset}/manifest.csv",
    log:
        "results/logs/get_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/get_dataset/{dataset}.tsv"
    conda:
        rule_env()
    threads: 8  # of the cores that it may use, the renderer uses all
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        folder=subpath(output.manifest, parent=True),
        source=lambda wildcards: option("--source", source_of(wildcards.dataset, config["sources"])),
        entry=lambda wildcards: json.dumps(lookup(wildcards.dataset).model_dump(), sort_keys=True),
    message:
        "get data set {wildcards.dataset}"
    shell:
        "python -m scwm data get {wildcards.dataset:q} {params.source:q} --out {params.folder:q}"
        " > {log:q} 2>&1"


rule build_store:
    """Decode a data set's images once, at one size."""
    input:
        manifest=rules.get_dataset.output.manifest,
        code=lambda wildcards: code(*store_sources(wildcards.dataset)),
    output:
        images="data/stores/{dataset}/{size}/images.npy",
        index="data/stores/{dataset}/{size}/index.csv",
        info="data/stores/{dataset}/{size}/store.json",
    log:
        "results/logs/build_store/{dataset}-{size}.log",
    benchmark:
        "results/benchmarks/build_store/{dataset}-{size}.tsv"
    conda:
        rule_env()
    threads: 8  # the images are decoded on all cores
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        root=subpath(input.manifest, parent=True),
        folder=subpath(output.images, parent=True),
        entry=lambda wildcards: json.dumps(lookup(wildcards.dataset).model_dump(), sort_keys=True),
    message:
        "decode {wildcards.dataset} at {wildcards.size}"
    shell:
        "python -m scwm data store {wildcards.dataset:q} --root {params.root:q}"
        " --size {wildcards.size:q} --out {params.folder:q} > {log:q} 2>&1"


rule get_weights:
    """Fetch a backbone's pretrained weights."""
    input:
        code=code("models/weights.py"),
        named=lambda wildcards: str(ROOT / "scwm" / BACKBONES.file(wildcards.backbone)),
    output:
        weights="data/weights/{backbone}-{source}.pt",
    log:
        "results/logs/get_weights/{backbone}-{source}.log",
    benchmark:
        "results/benchmarks/get_weights/{backbone}-{source}.tsv"
    wildcard_constraints:
        backbone=BACKBONES.pattern,
        source=NAME,
    conda:
        rule_env()
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    message:
        "get weights of {wildcards.backbone} from {wildcards.source}"
    shell:
        "python -m scwm weights {wildcards.backbone:q} {wildcards.source:q}"
        " --out {output.weights:q} > {log:q} 2>&1"
