"""The trunk: the frozen layers below the lowest one that is trained, computed once for each row."""
