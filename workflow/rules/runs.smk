rule resolve_config:
    """Write every setting of one run. A parameter holds the settings, so an edit of a default or method
    that does not change them reruns nothing."""
    output:
        config=f"{RUN}/config.yaml",
    log:
        f"{config['results']}/logs/resolve_config/{{dataset}}-{{method}}-{{seed}}.log",
    benchmark:
        f"{config['results']}/benchmarks/resolve_config/{{dataset}}-{{method}}-{{seed}}.tsv"
    conda:
        rule_env()
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        resolved=lambda wildcards: json.dumps(
            plain(settings_of(wildcards.dataset, wildcards.method, int(wildcards.seed))),
            sort_keys=True,
        ),
    message:
        "resolve config of {wildcards.method} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m scwm config --method {wildcards.method:q} --dataset {wildcards.dataset:q}"
        " --seed {wildcards.seed:q} --overrides {params.resolved:q}"
        " --out {output.config:q} > {log:q} 2>&1"


rule train:
    """Train one method; a killed job resumes from its last checkpoint (in .scwm/)."""
    input:
        config=rules.resolve_config.output.config,
        images=store_file("images.npy"),
        index=store_file("index.csv"),
        info=store_file("store.json"),
        weights=weights_file,
        code=run_code("training/trainer.py"),
    output:
        model=f"{RUN}/model.pt",
        history=f"{RUN}/history.csv",
        provenance=f"{RUN}/train.json",
    log:
        f"{config['results']}/logs/train/{{dataset}}-{{method}}-{{seed}}.log",
    benchmark:
        f"{config['results']}/benchmarks/train/{{dataset}}-{{method}}-{{seed}}.tsv"
    conda:
        rule_env()
    threads: run_threads(config) * config["processes"]
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt * config["processes"],
        runtime=720,
        gpu=int(config["gpu"]) * config["processes"],
        processes=config["processes"],
    params:
        run=subpath(output.model, parent=True),
        store=subpath(input.images, parent=True),
        weights=lambda wildcards, input: option("--weights", input.get("weights")),
    message:
        "train {wildcards.method} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "OMP_NUM_THREADS=$((({threads} - 1) / {resources.processes} + 1)) python -m scwm launch"
        " --processes {resources.processes} --gpus {resources.gpu} --"
        " train {params.run:q} --store {params.store:q} {params.weights:q} > {log:q} 2>&1"


rule evaluate:
    """Rank the gallery and score the masks of one run."""
    input:
        config=rules.resolve_config.output.config,
        model=rules.train.output.model,
        history=rules.train.output.history,
        provenance=rules.train.output.provenance,
        images=store_file("images.npy"),
        index=store_file("index.csv"),
        info=store_file("store.json"),
        code=run_code("evaluation/evaluate.py"),
    output:
        metrics=f"{RUN}/metrics.json",
        visuals=f"{RUN}/visuals.npz",
        features=f"{RUN}/features.npz",
        queries=f"{RUN}/queries.npz",
        provenance=f"{RUN}/provenance.json",
    log:
        f"{config['results']}/logs/evaluate/{{dataset}}-{{method}}-{{seed}}.log",
    benchmark:
        f"{config['results']}/benchmarks/evaluate/{{dataset}}-{{method}}-{{seed}}.tsv"
    conda:
        rule_env()
    threads: run_threads(config)
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=120,
        gpu=int(config["gpu"]),
    params:
        run=subpath(output.metrics, parent=True),
        store=subpath(input.images, parent=True),
    message:
        "evaluate {wildcards.method} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "OMP_NUM_THREADS={threads} python -m scwm launch --gpus {resources.gpu} --"
        " evaluate {params.run:q} --store {params.store:q}"
        " > {log:q} 2>&1"


rule transfer:
    """Rank the gallery of another data set by one run, without training on it."""
    input:
        config=rules.resolve_config.output.config,
        model=rules.train.output.model,
        images=store_file("images.npy", "target"),
        index=store_file("index.csv", "target"),
        info=store_file("store.json", "target"),
        code=run_code("evaluation/transfer.py"),
    output:
        scores=f"{RUN}/transfer/{{target}}.json",
    log:
        f"{config['results']}/logs/transfer/{{dataset}}-{{method}}-{{seed}}-{{target}}.log",
    benchmark:
        f"{config['results']}/benchmarks/transfer/{{dataset}}-{{method}}-{{seed}}-{{target}}.tsv"
    conda:
        rule_env()
    threads: run_threads(config)
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=120,
        gpu=int(config["gpu"]),
    params:
        run=subpath(input.model, parent=True),
        store=subpath(input.images, parent=True),
    message:
        "score {wildcards.method} of {wildcards.dataset} on {wildcards.target}, seed {wildcards.seed}"
    shell:
        "OMP_NUM_THREADS={threads} python -m scwm launch --gpus {resources.gpu} --"
        " evaluate {params.run:q} --transfer --store {params.store:q}"
        " > {log:q} 2>&1"


rule study:
    """Corrections and memory strategies of one model, all at its own features."""
    input:
        config=rules.resolve_config.output.config,
        model=rules.train.output.model,
        images=store_file("images.npy"),
        index=store_file("index.csv"),
        info=store_file("store.json"),
        keypoints=lambda wildcards: expanded(config["keypoints"].get(wildcards.dataset)),
        # The study compares every strategy and each correction with the run's own.
        code=run_code(
            "evaluation/study.py",
            "method/strategies/*.py",
            FOREGROUND_CORRECTIONS.file(True),
            SPACE_CORRECTIONS.file(True),
            SPACE_CORRECTIONS.file("bands"),
        ),
    output:
        study=f"{RUN}/study.json",
    log:
        f"{config['results']}/logs/study/{{dataset}}-{{method}}-{{seed}}.log",
    benchmark:
        f"{config['results']}/benchmarks/study/{{dataset}}-{{method}}-{{seed}}.tsv"
    conda:
        rule_env()
    threads: run_threads(config)
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=120,
        gpu=int(config["gpu"]),
    params:
        run=subpath(output.study, parent=True),
        store=subpath(input.images, parent=True),
        keypoints=lambda wildcards, input: option("--keypoints", input.get("keypoints")),
    message:
        "study {wildcards.method} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "OMP_NUM_THREADS={threads} python -m scwm launch --gpus {resources.gpu} --"
        " study {params.run:q} --store {params.store:q}"
        " {params.keypoints:q} > {log:q} 2>&1"
