"""Keeping a registry whole: one file for each verb, with a function that takes the catalog.

gc          remove bytes that nothing refers to
fsck        check a registry, and repair it
backup      copy a registry while it is used, and restore it
bundle      one file with a version and all its parents, for machines without a network
rebuild     make the database again from blobs and records
doctor      check the machine and the programs that the registry needs
"""
