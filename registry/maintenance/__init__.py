"""Keeping a registry whole: one verb a file, each a function that takes the catalog.

gc          remove bytes that nothing refers to
fsck        compare what should be there with what is, and mend it
backup      copy a registry while it is used, and bring it back
bundle      one file with a version and all it is made of, for machines without a network
rebuild     make the database anew from blobs and records
doctor      look at the machine and the programs that the registry rests on
"""
