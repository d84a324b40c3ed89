"""A registry as a hub: the wire that clients of the Hugging Face Hub speak.

Nothing else in `registry` imports this, which needs the extra ``server``.
"""
