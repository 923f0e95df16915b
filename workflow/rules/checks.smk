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


def report_missing_data(config):
    """Say which data sets are not on this machine and how to supply them; stop nothing."""
    if not workflow.is_main_process:
        return
    for dataset in dict.fromkeys(config["datasets"] + config["transfer"]):
        try:
            resolve_source(dataset, source_of(dataset, config["sources"]))
        except ScwmError as error:
            title = lookup(dataset).title
            logger.warning(f"Data set {dataset} ({title}) cannot be used yet.\n{error}")
