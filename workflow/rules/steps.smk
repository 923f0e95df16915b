# What the terminal shows: a line for each finished step. The log in .snakemake/log keeps the rest.
from workflow.steps import SECONDS, Step, Terminal


def quiet_terminal():
    """The filter of the terminal; none where an option asks for all or for less."""
    settings = workflow.output_settings
    less = {kind.name for kind in settings.quiet or ()} & {"ALL", "PROGRESS", "RULES"}
    if not workflow.is_main_process or settings.dryrun or settings.verbose or less:
        return None
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            stream = handler.stream
            terminal = Terminal(lambda line: print(line, file=stream, flush=True))
            handler.addFilter(terminal)
            return terminal


def tell_steps():
    """Name the jobs of the run to the terminal."""
    if terminal:
        terminal.begin({job.jobid: step_of(job) for job in workflow.dag.needrun_jobs()})


def step_of(job):
    """What a job says and is expected to take."""
    kind, seconds = job.rule.name, SECONDS.get(job.rule.name, 1)
    if kind == "train":
        own = settings_of(job.wildcards.dataset, job.wildcards.method)
        if own.kind != "trained":
            kind, seconds = "control", SECONDS["control"]
        else:
            seconds *= training_size(own) / EMBEDDED_SIZE
    return Step(kind, job.message or kind, seconds, share_of(job))


def training_size(settings):
    """The pixels that a training reads."""
    training, (height, width) = settings.training, settings.model.image_size
    batch = training.identities * training.instances
    return training.epochs * training.iterations * batch * height * width


EMBEDDED_SIZE = 24 * 12 * 48 * 128 * 64  # of config/config.yaml, which SECONDS are of


def share_of(job):
    """The share of the cores, jobs or GPUs that a job takes."""
    limits = {name: limit.value for name, limit in workflow.global_resources.items()}
    used = {"_cores": job.threads, "_nodes": 1, "gpu": job.resources.get("gpu", 0)}
    shares = [need / limits[name] for name, need in used.items() if limits.get(name)]
    return min(1.0, max(shares, default=1.0))
