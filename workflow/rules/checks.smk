# What is wrong with a config, and which data are missing, said before the first job.


def check_config(config):
    """What the schema cannot know: names and values that the package decides on.

    Raises:
        WorkflowError: a data set, method or setting is unknown, or a value is out of range.
    """
    keys = ("datasets", "sources", "keypoints", "dataset_settings")
    for name in [name for key in keys for name in config[key]]:
        if name not in REGISTRY:
            known = ", ".join(sorted(REGISTRY))
            raise WorkflowError(f"Unknown data set '{name}' in the config; known: {known}.")
    for dataset in config["datasets"]:
        for method in all_methods():
            try:
                model_settings(dataset, method)
            except ScwmError as error:
                raise WorkflowError(f"The config does not fit {method} on {dataset}: {error}")
        for method in all_methods():
            if split_variant(method)[1] and settings_of(dataset, method) == settings_of(
                dataset, REFERENCE
            ):
                raise WorkflowError(
                    f"Sweep: {method} is {REFERENCE} itself on {dataset}; leave the value out."
                )
    if config["sweep"] and REFERENCE not in config["methods"]:
        raise WorkflowError(f"A sweep varies {REFERENCE}: list it among the methods.")


def data_at_hand(dataset):
    """Whether the suite makes the data set, has it already, or is told where it is."""
    entry = REGISTRY[dataset]
    folder = Path("data/raw", dataset)
    places = [
        data_source(dataset),
        os.environ.get(entry.get("env", "")),
        entry.get("source", {}).get("path"),
    ]
    return (
        is_rendered(dataset)
        or (folder.is_dir() and any(folder.iterdir()))
        or any(place and Path(place).expanduser().exists() for place in places)
    )


def report_missing_data(config):
    """Say which data sets are not on this machine and how to supply them; stop nothing."""
    if not workflow.is_main_process:
        return
    for dataset in config["datasets"]:
        if data_at_hand(dataset):
            continue
        entry = REGISTRY[dataset]
        ways = [
            f"put it in data/raw/{dataset}",
            f"name it in the config (sources: {dataset}: PATH)",
        ]
        if "env" in entry:
            ways.insert(0, f"set {entry['env']}=PATH (archive or folder)")
        lines = [
            f"Data set {dataset} ({entry['title']}) is not on this machine.",
            "  supply it: " + ", or ".join(ways),
        ]
        if urls := entry.get("source", {}).get("urls"):
            lines.append("  else it is downloaded: " + ", ".join(urls))
        lines += [f"  {entry[key].strip()}" for key in ("ask", "homepage") if entry.get(key)]
        logger.warning("\n".join(lines))
