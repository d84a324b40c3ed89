"""The mathematics: what adapters compute, and how it enters a frozen model.

A fusion, from the inside out: ``delta`` is one adapter at one site; ``joined`` computes several
deltas as one; ``fusion`` attends over them, as in the paper, for training; ``folded`` is the same
function without a ``d x d`` product, for inference; ``foldable`` says when that may be used and
when it must be made anew. ``nodes`` and ``batch`` combine them at a site; ``hooks`` puts them into
a model, at the places that ``layout`` and ``host`` name.
"""
