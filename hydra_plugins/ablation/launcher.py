"""`hydra/launcher=pool`: every job in a process of its own, forked from a server that has loaded torch already."""

# No postponed annotations: Hydra runs this file before it is in sys.modules, where dataclasses would look them up.

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

if TYPE_CHECKING:
    from ablation.processes.launch import TaskResult
    from ablation.records.failure import Failure

_JOB_NAME = "hydra.job.name="


@dataclass
class PoolLauncherConf:
    """Types of the keys that conf/hydra/launcher/pool.yaml explains."""

    _target_: str = "hydra_plugins.ablation.launcher.PoolLauncher"
    workers: int | None = None
    threads: int = 1
    device: str = "auto"
    devices: int = 1
    gpus: list[int] | None = None
    runs_per_gpu: int = 1
    timeout: float | None = None
    retries: int = 0
    max_failures: int | None = None
    preload: list[str] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/launcher", name="pool_schema", node=PoolLauncherConf, provider="ablation")


class JobFailed(RuntimeError):
    """A job ended without a result; `failure` is the reason."""

    def __init__(self, failure: "Failure") -> None:
        super().__init__(failure.message)
        self.failure = failure


class PoolLauncher(Launcher):
    """Runs jobs in worker processes, so that a job that dies affects no other one."""

    def __init__(self, **options: Any) -> None:
        self._options = PoolLauncherConf(**options)
        _check(self._options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what Hydra passes, and set the modules that the fork server imports when it starts."""
        from ablation.processes.server import preload

        self._context, self._task, self._config = hydra_context, task_function, config
        preload(self._options.preload)

    @property
    def workers(self) -> int:
        """Number of jobs that run at a time."""
        return len(self._slots())

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs and return their results in the same order."""
        import cloudpickle
        from hydra.core.singleton import Singleton

        from ablation.processes.launch import Limits, launch
        from ablation.processes.worker import Task
        from ablation.sweep.display import show_progress

        options, folder = self._options, Path(str(self._config.hydra.sweep.dir)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        shared = cloudpickle.dumps((self._context, self._config, self._task, Singleton.get_state()))
        tasks = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            names = (o.removeprefix(_JOB_NAME) for o in overrides if o.startswith(_JOB_NAME))
            name = next(names, f"job-{number}")
            log = folder / "logs" / f"{name}.txt"
            tasks.append(Task(name, run_job_from, (shared, number, tuple(overrides)), log))
        limits = Limits(options.timeout, options.retries, options.max_failures)
        with show_progress(len(tasks)) as callback:
            results = launch(tasks, self._slots(), limits, callback)
        return [_job_return(result) for result in results]

    def _slots(self) -> list[Mapping[str, str]]:
        from ablation.records.errors import ConfigError

        options = self._options
        gpus = _visible_gpus() if options.gpus is None else [str(gpu) for gpu in options.gpus]
        gpus = [] if options.device == "cpu" else gpus
        if options.device == "cuda" and not gpus and not _may_have_gpu():
            raise ConfigError(
                "sweep.device=cuda needs a GPU, and none is visible here (hydra.launcher.gpus, CUDA_VISIBLE_DEVICES). "
                "Give sweep.device=auto or cpu, or a launcher of a cluster (docs/clusters.md)."
            )
        if options.devices > 1 and options.device != "cpu" and options.devices > len(gpus):
            raise ConfigError(
                f"schedule.devices must be <= {len(gpus)}, the number of GPUs, got {options.devices}. Lower it, or try "
                "it with processes on the CPU: sweep.device=cpu."
            )
        threads = {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
        if gpus:
            firsts = range(0, len(gpus) - options.devices + 1, options.devices)
            groups = [",".join(gpus[first : first + options.devices]) for first in firsts]
            slots = [threads | {"CUDA_VISIBLE_DEVICES": group} for _ in range(options.runs_per_gpu) for group in groups]
        else:
            slots = [threads] * max(1, _cores() // (options.threads * options.devices))
        return list(islice(cycle(slots), options.workers or len(slots)))


def _check(options: PoolLauncherConf) -> None:
    from ablation.records.errors import ConfigError

    lowest = {"workers": 1, "threads": 1, "devices": 1, "runs_per_gpu": 1, "retries": 0, "max_failures": 1}
    for key, bound in lowest.items():
        value = getattr(options, key)
        if value is not None and value < bound:
            raise ConfigError(f"hydra.launcher.{key} must be >= {bound}, got {value}.")
    if options.gpus is not None and any(gpu < 0 for gpu in options.gpus):
        raise ConfigError(f"hydra.launcher.gpus must be numbers of GPUs from 0 on, got {list(options.gpus)}.")
    if options.timeout is not None and not options.timeout > 0:
        raise ConfigError(f"hydra.launcher.timeout must be > 0 seconds, got {options.timeout:g}.")


def run_job_from(shared: bytes, number: int, overrides: Sequence[str]) -> bytes:
    """Compose and run a job, in the worker process, as every Hydra launcher does."""
    import cloudpickle
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.core.utils import run_job, setup_globals

    context, config, task, state = cloudpickle.loads(shared)
    setup_globals()
    Singleton.set_state(state)
    job_config = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(job_config):
        job_config.hydra.job.id = f"{job_config.hydra.job.name}_{number}"
        job_config.hydra.job.num = number
    HydraConfig.instance().set_config(job_config)
    result = run_job(
        hydra_context=context,
        task_function=task,
        config=job_config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    if result.status is JobStatus.FAILED:
        raise result._return_value  # the pool counts it, retries it and reports it
    dumped: bytes = cloudpickle.dumps(result)
    return dumped


def _job_return(result: "TaskResult") -> JobReturn:
    import cloudpickle

    if result.failure is None:
        completed: JobReturn = cloudpickle.loads(result.result)
        return completed
    failed = JobReturn(overrides=list(result.task.arguments[2]), status=JobStatus.FAILED)
    failed.return_value = JobFailed(result.failure)
    return failed


def _cores() -> int:
    # Those that this process may use; macOS has no such limit.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_have_gpu() -> bool:
    # Drivers that keep no list as NVIDIA's on Linux does: WSL and ROCm.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") is not None
    return not hidden and any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    driver = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(driver.iterdir())))] if driver.is_dir() else []
