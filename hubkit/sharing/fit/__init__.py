"""Whether the tensors of a folder fit the base model that it names."""
