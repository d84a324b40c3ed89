"""Bytes on disk, by digest, written so that a crash leaves nothing half-done."""
