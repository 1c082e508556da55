"""Imported into the fork server by tests: the training of some sigmas ends in a way that no exception tells of."""

import ctypes
import os
import signal
import sys
import time

import torch

from ablation import execute

_run = execute.Training.run


def _diverge(training):
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.fill_(float("nan"))


FATES = {
    0.11: lambda _: ctypes.string_at(0),
    0.12: lambda _: os.kill(os.getpid(), signal.SIGKILL),
    0.13: lambda _: sys.exit(3),
    0.14: lambda _: time.sleep(3600),
    0.15: _diverge,
    0.16: lambda _: torch.empty(1 << 60),
}


def run(training):
    fate = FATES.get(training._config.noise.sigma)
    if fate is not None:
        fate(training)
    return _run(training)


execute.Training.run = run
