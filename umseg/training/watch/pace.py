"""How long a training will take, measured over its first iterations."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from umseg.common.text import counted, duration
from umseg.training.config.recipes import RECIPES
from umseg.training.config.training_config import TrainingConfig

SECONDS_TO_MEASURE = 10.0
"""Time over which iterations are measured; at least one is, and the first one is left out, as kernels are compiled."""
MOST_ITERATIONS = 20
"""Number of iterations after which the time is stated in any case."""
VALIDATION = 1 / 3
"""Time of a validation batch as a fraction of a training batch's, which also has a backward pass."""
LONG = 3 * 3600.0
"""Expected time in seconds from which faster ways of training are named."""
SHORT = 60.0
"""Expected time in seconds below which nothing is said."""


@dataclass
class Pace:
    """Measures iterations, and states the expected time once.

    Attributes:
        config: The training configuration.
        preset: Name of the preset that the plan was made with.
        on_cpu: Whether the network is trained on a CPU.
        done: Training and validation batches of earlier sessions.
    """

    config: TrainingConfig
    preset: str
    on_cpu: bool
    done: tuple[int, int] = (0, 0)
    _iterations: int = 0
    _start: tuple[float, int] | None = None
    _stated: bool = field(default=False)

    def iteration(self, synced: bool) -> str | None:
        """Note a training iteration.

        Args:
            synced: Whether the device has finished it: a GPU still computes when the call of a kernel returns.

        Returns:
            The expected time in words, once, when enough was measured.
        """
        self._iterations += 1
        if self._stated or not synced:
            return None
        now = time.perf_counter()
        if self._start is None:
            self._start = (now, self._iterations)
            return None
        start, first = self._start
        if now - start < SECONDS_TO_MEASURE and self._iterations - first < MOST_ITERATIONS:
            return None
        self._stated = True
        return self._expected((now - start) / (self._iterations - first))

    def _expected(self, seconds: float) -> str | None:
        config = self.config
        train = config.epochs * config.iterations - self.done[0] - self._iterations
        validation = config.epochs * config.validation_batches - self.done[1]
        total = seconds * (train + VALIDATION * validation)
        if total < SHORT:
            return None
        text = (
            f"Expected time: about {duration(total)} for {counted(config.epochs, 'epoch')} of "
            f"{counted(config.iterations, 'iteration')}, at {seconds:.2g} s per iteration."
        )
        advice = self._advice()
        return f"{text} {advice}" if total > LONG and advice else text

    def _advice(self) -> str:
        ways = []
        if self.config.epochs > RECIPES["quick"].options["epochs"]:
            ways.append("--recipe quick trains a tenth of the iterations")
        if self.on_cpu and self.preset != "cpu":
            ways.append("umseg plan --preset cpu plans a network and patches for a CPU")
        return f"Faster: {'; '.join(ways)}." if ways else ""
