"""Other people's schedulers: datatrove's executors, on this machine and on a Ray cluster.

They only decide when and where a task runs; what is done already is told by the reports of shards, not by them.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ggt_hub.errors import GGTHubError, did_you_mean

ENGINES = ("local", "datatrove", "ray")

Step = Callable[[Any, int, int], None]
"""A step of datatrove's: what came before it (nothing here), the number of the task, and how many there are."""


def check_engine(engine: str) -> None:
    """Refuse an engine that does not exist, or that is not installed.

    Raises:
        GGTHubError: naming those that there are, or what to install.
    """
    if engine not in ENGINES:
        raise GGTHubError(
            f"no engine {engine!r}: there are {', '.join(ENGINES)}{did_you_mean(engine, ENGINES)}"
        )
    if engine == "local":
        return
    try:
        import datatrove  # noqa: F401

        if engine == "ray":
            import ray  # noqa: F401
    except ImportError as error:
        raise GGTHubError(
            f"the engine {engine} needs {error.name}: pip install 'ggt-hub[engines]', or take the engine local"
        ) from error


def run_tasks(engine: str, step: Step, count: int, workers: int, logs: Path) -> None:
    """Run a step `count` times by datatrove.

    Args:
        engine: `datatrove` for its executor on this machine; `ray` for that on the cluster which `RAY_ADDRESS`
            names, or on one of `workers` cores that is started here.
        step: what a task does; to be pickled.
        count: how many tasks there are.
        workers: tasks at a time.
        logs: folder for datatrove's logs.

    Raises:
        GGTHubError: if the engine cannot be had.
        Exception: what a task has raised.
    """
    check_engine(engine)
    if engine == "ray":
        _run_by_ray(step, count, workers, logs)
        return
    from datatrove.executor import LocalPipelineExecutor

    LocalPipelineExecutor(
        [step],
        tasks=count,
        workers=workers,
        logging_dir=str(logs),
        skip_completed=False,
        start_method="spawn",
    ).run()


def _run_by_ray(step: Step, count: int, workers: int, logs: Path) -> None:
    import ray
    from datatrove.executor import RayPipelineExecutor

    was_running = ray.is_initialized()
    if not was_running:
        cores: dict[str, Any] = (
            {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        )
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **cores)
    try:
        RayPipelineExecutor(
            [step],
            tasks=count,
            workers=workers,
            logging_dir=str(logs),
            skip_completed=False,
            mem_per_cpu_gb=1,
        ).run()
    finally:
        if not was_running:
            ray.shutdown()
