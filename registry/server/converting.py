"""Pickled weights that were pushed are converted, and large ones looked at, beside the requests."""

import logging
import queue
import threading

from registry.errors import HubkitError
from registry.history.commits import Commit
from registry.history.committing import PENDING, Committer
from registry.history.repositories import Repository

logger = logging.getLogger(__name__)


class Conversions:
    """Converts commits in a thread of its own, which starts with the first one.

    Args:
        committer: Makes their versions.
    """

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._waiting: queue.SimpleQueue[tuple[Repository, Commit]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, repository: Repository, commit: Commit) -> None:
        """Convert a commit soon, if its weights wait for that; return at once."""
        if commit.reason not in PENDING:
            return
        self._waiting.put((repository, commit))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def go_on(self) -> None:
        """Convert what a process that was stopped has left."""
        for repository, commit in self._committer.pending():
            self.add(repository, commit)

    def _work(self) -> None:
        while True:
            repository, commit = self._waiting.get()
            try:
                self._committer.convert(repository, commit)
            except HubkitError as error:
                logger.warning("%s is not converted: %s", repository.full_name, error)
            except Exception:  # a mistake of hubkit, which the next commit does not wait for
                logger.exception("%s is not converted", repository.full_name)
