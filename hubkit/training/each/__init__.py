"""Many adapters on one frozen base model, trained in one run, as each would be in its own."""
