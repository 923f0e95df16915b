rule table:
    """Mean and standard deviation over seeds, as CSV, Markdown, HTML and LaTeX."""
    input:
        runs=lambda wildcards: input_files(wildcards.table, benchmark_runs()),
        others=lambda wildcards: config_files(wildcards.table),
        code=code("reporting/**/*.py"),
    output:
        csv=f"{config['results']}/tables/{{table}}.csv",
        md=f"{config['results']}/tables/{{table}}.md",
        html=report(
            f"{config['results']}/tables/{{table}}.html",
            caption="../report/caption.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        tex=f"{config['results']}/tables/{{table}}.tex",
    log:
        f"{config['results']}/logs/table/{{table}}.log",
    benchmark:
        f"{config['results']}/benchmarks/table/{{table}}.tsv"
    wildcard_constraints:
        table="|".join(TABLES),
    conda:
        rule_env()
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        out=subpath(output.csv, strip_suffix=".csv"),
        caption=lambda wildcards: TITLES[wildcards.table],
        frozen=freeze_state(),
        runs=run_options(),
    message:
        "make table {wildcards.table}"
    shell:
        "python -m scwm table {wildcards.table:q} {params.runs:q} --out {params.out:q}"
        " > {log:q} 2>&1"


rule plot:
    """One figure of the benchmark, as PNG and SVG."""
    input:
        runs=lambda wildcards: input_files(wildcards.plot, benchmark_runs()),
        others=lambda wildcards: config_files(wildcards.plot),
        code=code("reporting/**/*.py"),
    output:
        png=report(
            f"{config['results']}/plots/{{plot}}.png",
            caption="../report/caption.rst",
            category="Plots",
            labels={"plot": "{plot}"},
        ),
        svg=f"{config['results']}/plots/{{plot}}.svg",
    log:
        f"{config['results']}/logs/plot/{{plot}}.log",
    benchmark:
        f"{config['results']}/benchmarks/plot/{{plot}}.tsv"
    wildcard_constraints:
        plot="|".join(PLOTS),
    conda:
        rule_env()
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        out=subpath(output.png, strip_suffix=".png"),
        caption=lambda wildcards: CAPTIONS[wildcards.plot],
        runs=run_options(),
    message:
        "draw plot {wildcards.plot}"
    shell:
        "python -m scwm plot {wildcards.plot:q} {params.runs:q} --out {params.out:q}"
        " > {log:q} 2>&1"


rule page:
    """Tables, plots and provenance on one page that needs no network."""
    input:
        runs=sorted(
            {file for name in of_benchmark(TABLES) for file in input_files(name, benchmark_runs())}
        ),
        others=[file for name in TABLES for file in config_files(name)],
        plots=expand(f"{config['results']}/plots/{{name}}.png", name=of_benchmark(PLOTS)),
        code=code("reporting/**/*.py"),
    output:
        page=f"{config['results']}/report.html",
        summary=f"{config['results']}/summary.md",
    log:
        f"{config['results']}/logs/page.log",
    benchmark:
        f"{config['results']}/benchmarks/page.tsv"
    conda:
        rule_env()
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        plots=lambda wildcards, input: str(Path(input.plots[0]).parent),
        frozen=freeze_state(),
        runs=run_options(),
    message:
        "write {output.page}"
    shell:
        "python -m scwm page {params.runs:q} --plots {params.plots:q} --out {output.page:q}"
        " > {log:q} 2>&1"


# Tables and plots of the existing runs, with gaps for the others. Without input and output the rule
# runs on every request, and no training runs before it.
rule partial:
    log:
        f"{config['results']}/logs/partial.log",
    conda:
        rule_env()
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        out=f"{config['results']}/partial",
        tables=of_benchmark(TABLES),
        plots=of_benchmark(PLOTS),
        runs=run_options(),
    message:
        "make tables and plots of what exists, in {params.out}"
    shell:
        "runs=({params.runs:q}); {{"
        ' for table in {params.tables:q}; do python -m scwm table "$table"'
        ' "${{runs[@]}}" --partial --out {params.out:q}/tables/"$table"; done;'
        ' for plot in {params.plots:q}; do python -m scwm plot "$plot"'
        ' "${{runs[@]}}" --partial --out {params.out:q}/plots/"$plot"; done;'
        ' python -m scwm page "${{runs[@]}}" --partial --plots {params.out:q}/plots'
        " --out {params.out:q}/report.html;"
        " }} > {log:q} 2>&1"
