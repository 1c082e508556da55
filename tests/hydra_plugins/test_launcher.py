"""Hydra's own contract suites for launchers, on ours."""

import os

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase

from ablation.records.errors import ConfigError
from hydra_plugins.ablation.launcher import PoolLauncher


@pytest.fixture(autouse=True)
def hydra_as_at_the_start(monkeypatch):
    """The suites name no version_base and expect the default, whatever an earlier test composed with."""
    monkeypatch.delitem(Singleton._instances, VersionBase, raising=False)


def test_hydra_finds_the_launcher():
    assert PoolLauncher.__name__ in [found.__name__ for found in Plugins.instance().discover(Launcher)]


def test_on_the_cpu_a_run_gets_cores_and_no_gpu():
    cores = len(os.sched_getaffinity(0))
    assert PoolLauncher(device="cpu", gpus=[0]).workers == cores
    assert PoolLauncher(gpus=[0, 1], runs_per_gpu=2).workers == 4


def test_where_processes_have_no_affinity_all_cores_are_used(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on a Mac
    assert PoolLauncher(device="cpu").workers == os.cpu_count()


def test_a_run_on_several_gpus_gets_a_group_of_its_own():
    slots = PoolLauncher(gpus=[0, 1, 2, 3, 4], devices=2)._slots()
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0,1", "2,3"]


def test_more_devices_than_gpus_are_refused():
    with pytest.raises(ConfigError, match=r"schedule\.devices must be <= 1, the number of GPUs, got 2"):
        PoolLauncher(gpus=[0], devices=2).workers  # noqa: B018


@pytest.mark.parametrize("launcher_name, overrides", [("pool_schema", ["hydra.launcher.workers=2"])])
class TestPoolLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({}, ["-m", "hydra/launcher=pool_schema", "hydra.launcher.workers=2"])],
)
class TestPoolLauncherIntegration(IntegrationTestSuite):
    pass
