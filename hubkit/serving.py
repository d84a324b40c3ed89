"""A process of a hub: the server of the registry, with what only hubkit can do for it.

Importing hubkit also says how to fetch bytes again from hubs, should some be damaged.
"""

from __future__ import annotations

from hubkit.sharing.pickles import convert_blobs
from registry.server.app import App
from registry.server.running import make_app as make_registry_app


def make_app() -> App:
    """Return the application that the server calls in each of its processes."""
    return make_registry_app(convert_blobs)
