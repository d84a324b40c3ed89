"""What pages say of a version: facts, lines to use it by, and a drawing of its relatives."""
