"""Publish to a hub, pull from one and search it, over the protocol of the Hugging Face Hub.

The client is ``huggingface_hub``, its cache and its settings (``HF_TOKEN``, ``HF_HOME``,
``HF_HUB_OFFLINE``, ``HF_ENDPOINT``) are those that its users know. Which server answers makes no
difference here.
"""
