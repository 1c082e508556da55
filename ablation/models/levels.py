"""Which features of a model a noise can reach, and the refusal of those that it cannot. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ablation.config.noise import NoiseConfig
from ablation.records.errors import ConfigError


@dataclass(frozen=True)
class Levels:
    """The levels of one model, by the names of its config.

    outputs: of the backbone, which `all` means; stages: of the network below that can be perturbed;
    rpn, roi: the outputs that this consumer reads, None where the model has no such consumer.
    """

    outputs: tuple[str, ...]
    stages: tuple[str, ...]
    rpn: tuple[str, ...] | None
    roi: tuple[str, ...] | None

    def chosen(self, noise: NoiseConfig, model: str = "this model") -> Levels:
        """Those that a noise acts on: outputs and stages; `all` means the outputs that its destination reads.

        Raises:
            ConfigError: a level or destination that the model does not have.
        """
        available = tuple(dict.fromkeys(self.outputs + self.stages))
        asked = self.outputs if noise.levels == "all" else tuple(noise.levels)
        if unknown := [level for level in asked if level not in available]:
            raise ConfigError(
                f"noise.levels: {', '.join(map(repr, unknown))} is not produced by {model}. "
                f"Available: {', '.join(available)}."
            )
        if noise.destination != "both":
            read = self._read_by(noise.destination, model)
            if noise.levels == "all":
                asked = read
            elif unread := [level for level in asked if level not in read]:
                raise ConfigError(
                    f"noise.levels: {', '.join(map(repr, unread))} is not read by the destination "
                    f"{noise.destination} of {model}. Choose from {', '.join(read)}, or noise.destination=both."
                )
        outputs = tuple(level for level in self.outputs if level in asked)
        stages = tuple(level for level in self.stages if level in asked and level not in outputs)
        return Levels(outputs, stages, self.rpn, self.roi)

    def _read_by(self, destination: str, model: str) -> tuple[str, ...]:
        if self.rpn is None or self.roi is None:
            raise ConfigError(
                f"noise.destination={destination} needs a two-stage detector with RPN and RoI heads; {model} has "
                "none. Set noise.destination=both."
            )
        return self.rpn if destination == "rpn" else self.roi
