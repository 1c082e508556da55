"""Hydra's own contract suites for launchers, on ours."""

from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase
from hydra_plugins.ablation_sweep.pool import PoolLauncher

import ablation

PLUGINS = Path(ablation.__file__).parent / "plugins"


@pytest.fixture(autouse=True)
def applications_find_the_plugin(monkeypatch):
    """The suites start bare Hydra applications; ours puts the folder on sys.path itself."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))


@pytest.fixture(autouse=True)
def hydra_as_at_the_start(monkeypatch):
    """The suites name no version_base and expect the default, whatever an earlier test composed with."""
    monkeypatch.delitem(Singleton._instances, VersionBase, raising=False)


def test_hydra_finds_the_launcher():
    assert PoolLauncher.__name__ in [found.__name__ for found in Plugins.instance().discover(Launcher)]


@pytest.mark.parametrize("launcher_name, overrides", [("pool_schema", ["hydra.launcher.workers=2"])])
class TestPoolLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({}, ["-m", "hydra/launcher=pool_schema", "hydra.launcher.workers=2"])],
)
class TestPoolLauncherIntegration(IntegrationTestSuite):
    pass
