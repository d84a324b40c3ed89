"""Uploads by Xet: clients send pieces, and the hub makes ordinary files of them.

The format is that of the public Xet Protocol Specification 1.1.0
(https://huggingface.co/docs/xet/index). A file is cut into chunks. A xorb holds chunks of one or
several files; a shard says which ranges of which xorbs, one after the other, are a file.
"""
