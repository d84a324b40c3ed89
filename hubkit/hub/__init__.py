"""Hubs as their client sees them, over the protocol of the Hugging Face Hub.

A hub is not trusted: see `hubkit.hub.session` for what it cannot do. The settings of the stock
client (``HF_TOKEN``, ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``) mean what they do there,
but that ``HF_TOKEN`` is shown to the default hub and hubs on this machine alone.
"""
