"""What tests of more than one module make: models, adapters, data."""
