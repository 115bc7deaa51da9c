"""What is told about models that are loaded together, to whoever watches a server start."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from atoll.errors import AtollError
from atoll.models.catalog import ModelKey
from atoll.models.ensembles.load_order import Turn


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """What start-up tells who watches: a model of `total` begins to load, or is `done`, with its error if it failed.

    `received` of `byte_size` bytes have been downloaded, where it comes from an object store.
    """

    model: str
    total: int
    done: bool = False
    error: AtollError | None = None
    received: int = 0
    byte_size: int = 0


OnProgress = Callable[[LoadProgress], None]


class Progress:
    """`watcher` hears of each model, from any thread; None while nobody watches."""

    def __init__(self) -> None:
        self.watcher: OnProgress | None = None
        self._total = 0  # models that are being loaded together

    def reporting(self, wanted: Collection[ModelKey], load: Callable[[Turn], None]) -> Callable[[Turn], None]:
        """`load` for these models, and those that they need before them, which tells of each."""
        self._total = len(wanted)

        def reported(turn: Turn) -> None:
            if not turn.steps_ready:
                self._total += turn.key not in wanted
                self._tell(LoadProgress(str(turn.key), self._total))
            try:
                load(turn)
            except AtollError as error:
                self._tell(LoadProgress(str(turn.key), self._total, True, error))
                raise
            self._tell(LoadProgress(str(turn.key), self._total, True))

        return reported

    def downloaded(self, model: str, received: int, byte_size: int) -> None:
        """So many bytes of it are there."""
        self._tell(LoadProgress(model, self._total, received=received, byte_size=byte_size))

    def _tell(self, progress: LoadProgress) -> None:
        if self.watcher is not None:
            self.watcher(progress)
