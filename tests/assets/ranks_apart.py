"""What the tests of several ranks ask of one of them, importable by name in its process."""

import hashlib

from ablation.training import distributed as ranks


def digest_of_weights(rank, *arguments):
    """Train as a rank does; the rank's own weights as a hash, and the sums of its noise."""
    found = {}
    train = ranks.Training.run

    def run(training):
        model = train(training)
        digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values()))
        found.update(weights=digest.hexdigest(), noise=training.telemetry["p2"].noise_rms)
        return model

    ranks.Training.run = run
    ranks.train_as(rank, *arguments)
    return found


def fail_as_rank_1(rank, *arguments):
    """Rank 1 raises an error after an iteration; rank 0 goes on."""
    save = ranks.Training.save

    def torn(training):
        if rank == 1:
            raise ValueError("rank 1 has had enough")
        save(training)

    ranks.Training.save = torn
    return ranks.train_as(rank, *arguments)
