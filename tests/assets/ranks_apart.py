"""What the tests of several ranks ask of one of them, importable by name in its process."""

import hashlib

import torch

from ablation.training import distributed


def digest_of_weights(rank, *arguments):
    """Train as a rank does; the rank's own weights as a hash, and the sums of its noise."""
    found = {}
    train = distributed.Training.run

    def run(training):
        model = train(training)
        digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values()))
        found.update(weights=digest.hexdigest(), noise=training.telemetry["p2"].noise_rms)
        return model

    distributed.Training.run = run
    distributed.train_rank(rank, *arguments)
    return found


def fail_as_rank_1(rank, *arguments):
    """Rank 1 raises an error after an iteration; rank 0 goes on."""
    save = distributed.Training.save

    def torn(training):
        if rank == 1:
            raise ValueError("rank 1 has had enough")
        save(training)

    distributed.Training.save = torn
    return distributed.train_rank(rank, *arguments)


def determinism_in_rank(rank, *arguments):
    """Train as a rank does; whether torch was deterministic while it did, and its number of threads."""
    found = {}
    train = distributed.Training.run

    def run(training):
        found.update(strict=torch.are_deterministic_algorithms_enabled(), threads=torch.get_num_threads())
        return train(training)

    distributed.Training.run = run
    distributed.train_rank(rank, *arguments)
    return found
