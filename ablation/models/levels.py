"""What a sweep must know of a model before anything is trained, above all its feature levels. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ablation.config.noise import NoiseConfig
from ablation.records.errors import ConfigError


@dataclass(frozen=True)
class Levels:
    """The levels of one model, by the names of its config.

    Attributes:
        outputs: Of the backbone; `noise.levels=all` means these.
        stages: Of the network below the outputs; noise can act on each.
        rpn: The outputs that the RPN reads; None where the model has none.
        roi: The outputs that the RoI heads read; None where the model has none.
    """

    outputs: tuple[str, ...]
    stages: tuple[str, ...]
    rpn: tuple[str, ...] | None
    roi: tuple[str, ...] | None

    def select(self, noise: NoiseConfig, model: str = "this model") -> Levels:
        """Return the levels that a noise acts on; `all` means the outputs that its destination reads.

        Raises:
            ConfigError: The model does not have a level or the destination.
        """
        available = tuple(dict.fromkeys(self.outputs + self.stages))
        requested = self.outputs if noise.levels == "all" else tuple(noise.levels)
        if unknown := [level for level in requested if level not in available]:
            raise ConfigError(
                f"noise.levels: {', '.join(map(repr, unknown))} is not produced by {model}. "
                f"Available: {', '.join(available)}."
            )
        if noise.destination != "both":
            read = self.rpn if noise.destination == "rpn" else self.roi
            if self.rpn is None or self.roi is None or read is None:
                raise ConfigError(
                    f"noise.destination={noise.destination} needs a two-stage detector with RPN and RoI heads; {model} "
                    "has none. Set noise.destination=both."
                )
            if noise.levels == "all":
                requested = read
            elif unread := [level for level in requested if level not in read]:
                raise ConfigError(
                    f"noise.levels: {', '.join(map(repr, unread))} is not read by the destination "
                    f"{noise.destination} of {model}. Choose from {', '.join(read)}, or noise.destination=both."
                )
        outputs = tuple(level for level in self.outputs if level in requested)
        # A level may be both, such as res4 of a backbone without a pyramid: it is perturbed once.
        stages = tuple(level for level in self.stages if level in requested and level not in outputs)
        return Levels(outputs, stages, self.rpn, self.roi)


@dataclass(frozen=True)
class ProbedModel:
    """A model that was built once, to see whether it can be.

    Attributes:
        levels: Of the model.
        iterations: Length of the training in its config, for a `schedule` that sets none.
        batch_size: Images per iteration in its config, for a `schedule` that sets none.
    """

    levels: Levels
    iterations: int
    batch_size: int
