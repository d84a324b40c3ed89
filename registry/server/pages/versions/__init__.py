"""The parts of pages about a version: facts, lines to use it, and a drawing of its relatives."""
