# What is wrong with a config, and which data are missing, said before the first job.


def default_is_changed():
    """Whether the command line names no config file that stands by itself."""
    try:
        given = [read_yaml(file) for file in workflow.overwrite_configfiles]
    except ScwmError as error:
        raise WorkflowError(str(error))
    return not is_whole({key for content in given for key in content})


def check_config(config):
    """Fill in defaults, and check what the rules read, as well as every run's settings.

    Raises:
        WorkflowError: a key, data set, method or setting is unknown, or a value is not allowed.
    """
    places = [os.path.relpath(file) for file in workflow.configfiles]
    places += ["--config"] if workflow.config_settings.config else []
    try:
        benchmark = read_benchmark(config, ", ".join(places))
        config.update(plain(benchmark))
        planned_configs(benchmark)
        freeze_state()
    except ScwmError as error:
        raise WorkflowError(f"The config is not valid. {error}")


def data_at_hand(dataset):
    """Whether the suite makes the data set, has it already, or is told where it is."""
    entry = lookup(dataset)
    folder = Path("data/raw", dataset)
    places = [
        source_of(dataset, config["sources"]),
        os.environ.get(entry.env or ""),
        entry.source.path,
    ]
    return (
        bool(entry.source.preset)
        or (bool(entry.terms) and terms_accepted(entry))
        or (folder.is_dir() and any(folder.iterdir()))
        or any(place and os.path.exists(os.path.expanduser(place)) for place in places)
    )


def report_missing_data(config):
    """Say which data sets are not on this machine and how to supply them; stop nothing."""
    if not workflow.is_main_process:
        return
    for dataset in dict.fromkeys(config["datasets"] + config["transfer"]):
        if data_at_hand(dataset):
            continue
        entry = lookup(dataset)
        ways = [
            f"put it in data/raw/{dataset}",
            f"name it in the config (sources: {dataset}: PATH)",
        ]
        if entry.env:
            ways.insert(0, f"set {entry.env}=PATH (archive or folder)")
        lines = [
            f"Data set {dataset} ({entry.title}) is not on this machine.",
            "  supply it: " + ", or ".join(ways),
        ]
        if entry.terms:
            lines.append(f"  or accept its terms, and it is downloaded: scwm data accept {dataset}")
            lines.append(f"  {entry.terms}")
        elif entry.source.urls:
            lines.append("  else it is downloaded: " + ", ".join(entry.source.urls))
        lines += [f"  {text.strip()}" for text in (entry.ask, entry.homepage) if text]
        logger.warning("\n".join(lines))
