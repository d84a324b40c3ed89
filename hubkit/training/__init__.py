"""Training and evaluation: data in, a published version out."""
