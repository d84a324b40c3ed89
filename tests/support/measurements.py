"""Measurements, as a command would record them."""

from datetime import UTC, datetime
from typing import Any

from registry import Measurement


def measurement(**fields: Any) -> Measurement:
    """A measurement in which any field can be given; it is made now unless it says when."""
    defaults = {
        "metric": "accuracy",
        "value": 0.5,
        "higher_is_better": True,
        "low": 0.25,
        "high": 0.875,
        "rows": 8,
        "data_sha256": "5e" * 32,
        "dataset": "test.csv",
        "split": "test",
        "measured_at": datetime.now(UTC),
        "actor": "ada",
        "hubkit": "1.0",
    }
    return Measurement.model_validate(defaults | fields)
