"""Counts in memory, so that no read waits for a writer: downloads, and uses of tokens."""

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

EVERY = 10.0
"""Seconds between two writes of the counts; a killed process loses those of this time."""


class Counts:
    """Downloads of repositories and last uses of tokens since they were written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._downloads: Counter[int] = Counter()
        self._uses: dict[int, datetime] = {}

    def download(self, repository_id: int) -> None:
        """Count a download."""
        with self._lock:
            self._downloads[repository_id] += 1

    def use(self, token_id: int, at: datetime) -> None:
        """Record when a token is used."""
        with self._lock:
            self._uses[token_id] = at

    def take(self) -> tuple[Mapping[int, int], Mapping[int, datetime]]:
        """Return downloads by repository and uses by token, and reset both."""
        with self._lock:
            downloads, uses = self._downloads, self._uses
            self._downloads, self._uses = Counter(), {}
        return downloads, uses

    def put_back(self, downloads: Mapping[int, int], uses: Mapping[int, datetime]) -> None:
        """Take back counts that could not be written."""
        with self._lock:
            self._downloads.update(downloads)
            self._uses = {**uses, **self._uses}
