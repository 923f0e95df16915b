# How jobs are executed: one run at a time in a folder, the shell, the environments.
def hold_folder():
    """One run at a time in this folder. The profiles turn Snakemake's own lock off (`nolock`): it
    outlives a killed run and must be removed by hand; the kernel frees this one with its process.
    """
    global folder_lock
    folder_lock = Lock(Path(".snakemake/scwm.lock"))
    if workflow.is_main_process and not folder_lock.acquire():
        raise WorkflowError(
            f"Another run (process {folder_lock.holder()}) works in this folder: wait for its end "
            "or stop it. There is nothing to unlock."
        )


def escaped(text):
    """Escape braces, in which Snakemake would look for a name."""
    return text.replace("{", "{{").replace("}", "}}")


def shell_prefix():
    """What precedes every command: strict bash, this checkout's package, polite threads.

    Snakemake clears PYTHONPATH for conda jobs, hence the assignment in the command itself.
    Without conda or container, `python` is the one that runs Snakemake, activated or not.
    """
    exports = {
        "PYTHONPATH": escaped(shlex.quote(os.path.abspath(ROOT))) + "${{PYTHONPATH:+:$PYTHONPATH}}",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
    }
    if config["gpu"]:
        exports["SCWM_DEVICE"] = "cuda"  # an error where there is none, not days on a CPU
    deployed = {DeploymentMethod.CONDA, DeploymentMethod.APPTAINER}
    if not deployed & set(workflow.deployment_settings.deployment_method):
        exports["PATH"] = escaped(shlex.quote(str(Path(sys.executable).parent))) + ":$PATH"
    words = " ".join(f"{name}={value}" for name, value in exports.items())
    return f"set -euo pipefail; export {words}; "


def rule_env():
    """The conda environment of every rule."""
    name = "scwm" if config["gpu"] else "scwm-cpu"
    return escaped(os.path.abspath(ROOT / f"workflow/envs/{name}.yaml"))
