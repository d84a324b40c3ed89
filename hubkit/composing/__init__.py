"""What is made of published adapters: stacks, mixes, smaller fusions, differences."""
