from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import errors
from registry.server.errors import MOST_HEADER_BYTES, STATUSES, answer_of, header_text, refuse

RETRIED = {408, 429, 500, 502, 504}


@given(st.text(max_size=1200))
def test_any_text_becomes_the_value_of_a_header(text: str) -> None:
    value = header_text(text)
    assert value == value.strip() != ""
    assert value.isascii()
    assert value.isprintable()
    assert len(value) <= MOST_HEADER_BYTES


@given(st.text(max_size=300).filter(lambda text: text.encode(errors="replace").decode() == text))
def test_a_refusal_can_be_sent_whatever_it_quotes(text: str) -> None:
    answer = refuse(404, text, "EntryNotFound")
    assert json.loads(bytes(answer.body)) == {"error": text}
    for key, value in answer.raw_headers:
        assert b"\n" not in key + value
        assert b"\r" not in key + value


def test_nothing_that_will_not_change_is_answered_with_what_clients_repeat() -> None:
    for kind, (status, _) in STATUSES.items():
        assert status not in RETRIED, kind
        assert status != 503 or "Database" in kind.__name__


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.RepositoryNotFoundError("x"), 404, "RepoNotFound"),
        (errors.HiddenFromStrangersError("x"), 401, "RepoNotFound"),
        (errors.RevisionNotFoundError("x"), 404, "RevisionNotFound"),
        (errors.EntryNotFoundError("x"), 404, "EntryNotFound"),
        (errors.SignInError("x"), 401, None),
        (errors.ForbiddenError("x"), 403, None),
        (errors.ExistsError("x"), 409, None),
        (errors.StaleParentError("x"), 412, None),
        (errors.InvalidNameError("x"), 400, None),
        (errors.NotHostedError("x"), 501, "NotHosted"),
        (errors.FullDiskError("x"), 507, "Storage"),
        (errors.DamagedBlobError("x"), 410, "DamagedFile"),
        (errors.CorruptBlobError("x"), 400, None),
        (errors.BusyDatabaseError("x"), 503, None),
        (RuntimeError("x"), 500, None),
    ],
)
def test_each_error_has_its_status_and_code(
    error: Exception, status: int, code: str | None
) -> None:
    answer = answer_of(error, "1")
    assert (answer.status_code, answer.headers.get("x-error-code")) == (status, code)
    assert answer.headers["x-error-message"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("/srv/hub/secret"),
        errors.StorageError("Cannot write /srv/hub/secret: read-only."),
        errors.BusyDatabaseError("/srv/hub/secret is in use"),
    ],
)
def test_paths_of_the_machine_are_told_to_its_log_alone(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    answer = answer_of(error, "request-17")
    assert b"secret" not in bytes(answer.body)
    assert "secret" not in str(answer.raw_headers)
    assert "request-17" in caplog.text
    assert "secret" in caplog.text
