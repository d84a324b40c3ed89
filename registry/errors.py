"""Every error that hubkit raises on purpose.

HubkitError
├── ArgumentError
├── InvalidNameError
│   └── PartOfAdapterError
├── NotFoundError
│   ├── RegistryNotFoundError
│   │   └── BackupNotFoundError
│   ├── RefNotFoundError
│   ├── NoCandidateError
│   ├── VersionNotFoundError
│   ├── AliasNotFoundError
│   ├── AccountNotFoundError
│   ├── TokenNotFoundError
│   ├── RepositoryNotFoundError
│   │   └── HiddenFromStrangersError
│   ├── RevisionNotFoundError
│   │   └── RemovedCommitError
│   ├── EntryNotFoundError
│   └── ParentNotFoundError
│       └── FusedAdapterNotFoundError
├── ConflictError
│   ├── OtherKindError
│   ├── EarlierExportError
│   ├── ExistsError
│   ├── StaleParentError
│   ├── TakenAddressError
│   └── RemoteConflictError
├── PasswordError
├── ManifestError
├── FolderError
│   ├── HeadLabelsError
│   ├── UnknownBaseError
│   ├── UnknownTaskError
│   ├── UnknownParentsError
│   └── PickledWeightsError
├── CorruptBlobError
│   └── DamagedBlobError
├── BundleError
├── StorageError
│   ├── FullDiskError
│   └── NotAFileError
├── DatabaseError
│   ├── NewerDatabaseError
│   ├── BusyDatabaseError
│   ├── UnreachableDatabaseError
│   ├── DamagedDatabaseError
│   ├── DamagedIndexError
│   ├── OutdatedDatabaseError
│   ├── ReplacedDatabaseError
│   ├── AlteredRowsError
│   └── AlteredLogError
├── BaseModelError
│   ├── BaseModelNotFoundError
│   └── BaseModelMismatchError
│       └── OtherBaseError
├── AdapterError
├── CompositionError
├── UnsupportedModelError
├── ExportError
├── EngineError
├── DataError
│   ├── MissingColumnError
│   ├── OtherTaskTypeError
│   ├── SeparatorError
│   ├── EncodingError
│   ├── TextLengthError
│   ├── LanguageCodeError
│   ├── FoldsError
│   ├── TooFewRowsError
│   ├── NoProbeError
│   ├── NoFlexibleHeadError
│   ├── AmbiguousDataSetError
│   ├── UnfitRowsError
│   └── LabelError
│       ├── RareLabelError
│       └── SingleLabelError
├── TrainingError
│   ├── DivergedError
│   ├── NoValidationError
│   ├── ShortTrainingError
│   ├── PrecisionError
│   ├── NoTrunkError
│   └── RunInUseError
├── RemoteError
│   ├── RemoteNotFoundError
│   ├── RemoteAccessError
│   ├── RemoteUnreachableError
│   └── RemoteAnswerError
└── RequestError
    ├── NoSuchPageError
    ├── MethodError
    ├── HostError
    ├── TooLargeError
    ├── SignInError
    ├── ForbiddenError
    ├── MovedRepositoryError
    ├── NotHostedError
    └── UnsupportedRequestError

A message names the thing, what was expected, what was found and what to do about it, in facts. It
names no option and no command: `hubkit.cli.cures` adds those by class, so that an error which needs
one has a class of its own here.
"""

from collections.abc import Collection, Iterable
from itertools import islice


class HubkitError(Exception):
    """A refusal of hubkit; the command line prints it and exits with 1.

    Args:
        message: The text for a person.
        subject: The object of the error: a ref, a path, a digest, a field.
        given: The value that the caller passed; default: None.
        expected: The right value; default: None.
        found: The value that was found; default: None.
    """

    def __init__(
        self,
        message: str,
        subject: object = None,
        *,
        given: object = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        """Keep the facts beside the message, for programs."""
        super().__init__(message)
        self.subject = subject
        self.given = given
        self.expected = expected
        self.found = found


class ArgumentError(HubkitError):
    """A caller passed a value of a type, or a choice, that a function does not take."""


class InvalidNameError(HubkitError):
    """A name, ref, digest, path or line of text is malformed."""


class PartOfAdapterError(InvalidNameError):
    """A version was `given` in place of a whole adapter."""


class NotFoundError(HubkitError):
    """There is nothing of this name."""


class RegistryNotFoundError(NotFoundError):
    """A folder has no registry."""


class BackupNotFoundError(RegistryNotFoundError):
    """A folder has no backup of a registry."""


class RefNotFoundError(NotFoundError):
    """No adapter has this name."""


class NoCandidateError(NotFoundError):
    """The registry has no adapter that fits the request."""


class VersionNotFoundError(NotFoundError):
    """The adapter exists, but has no such version that could be used."""


class AliasNotFoundError(NotFoundError):
    """The adapter exists, but has no such alias."""


class AccountNotFoundError(NotFoundError):
    """No user or organisation has this name; `expected` is the kind, if one was required."""


class TokenNotFoundError(NotFoundError):
    """A user has no token of this name; `subject` is the user's."""


class RepositoryNotFoundError(NotFoundError):
    """A hub has no repository of that name, or the caller may not see it."""


class HiddenFromStrangersError(RepositoryNotFoundError):
    """The same, for a caller without a token."""


class RevisionNotFoundError(NotFoundError):
    """A repository has no such branch, tag or commit."""


class RemovedCommitError(RevisionNotFoundError):
    """A squash or a deletion removed a commit after it was found."""


class EntryNotFoundError(NotFoundError):
    """A commit has no such file or folder."""


class ParentNotFoundError(NotFoundError):
    """A fusion, stack or mix is made of an adapter that this registry does not have."""


class FusedAdapterNotFoundError(ParentNotFoundError):
    """A fusion's folder names an adapter, and the registry has none of that name."""


class ConflictError(HubkitError):
    """A name or number is already taken by something else."""


class OtherKindError(ConflictError):
    """A name belongs to another kind of adapter: `found`, not `given`."""


class EarlierExportError(ConflictError):
    """The target folder of an export has another export."""


class ExistsError(ConflictError):
    """There is a repository, a branch or a tag of that name already."""


class StaleParentError(ConflictError):
    """Another commit came first: the branch is not at the expected commit."""


class TakenAddressError(ConflictError):
    """Another program listens at the address of a hub."""


class RemoteConflictError(ConflictError):
    """The repository on a hub has other content than hubkit would publish."""


class PasswordError(HubkitError):
    """A password is too short or too long, or the library for its hash is not installed."""


class ManifestError(HubkitError):
    """A manifest is malformed, or of a schema that this hubkit does not read."""


class FolderError(HubkitError):
    """A folder differs from its manifest, or has no adapter."""


class HeadLabelsError(FolderError):
    """The labels of a head contradict its weights or its files.

    `expected` is the number of classes that its weights tell apart, 0 if there is no head; `found`
    are the labels that its files name; `given` are those that the caller named.
    """


class UnknownBaseError(FolderError):
    """A folder does not name its base model, or names more than one."""


class UnknownTaskError(FolderError):
    """A folder does not name the task of its adapter."""


class UnknownParentsError(FolderError):
    """A fusion's folder does not name the published adapters that it is made of."""


class PickledWeightsError(FolderError):
    """A folder has weights as a pickle, which can run code when it is loaded."""


class CorruptBlobError(HubkitError):
    """Stored or received bytes do not have their digest."""


class DamagedBlobError(CorruptBlobError):
    """Bytes of a registry are missing, cut off or altered."""


class BundleError(HubkitError):
    """A bundle is malformed or cut off, or differs from its index."""


class StorageError(HubkitError):
    """The file system refused: disk full, no permission, read-only."""


class FullDiskError(StorageError):
    """A disk, or the user's part of it, has too little space left to work with."""


class NotAFileError(StorageError):
    """A path is not a file but a folder, a pipe, a socket, a device or an open database."""


class DatabaseError(HubkitError):
    """The registry's database cannot be used."""


class NewerDatabaseError(DatabaseError):
    """The registry's database was written by a newer hubkit."""


class BusyDatabaseError(DatabaseError):
    """Other processes use the registry's database for too long, or too many do."""


class UnreachableDatabaseError(DatabaseError):
    """The server of the registry's database does not answer, or ended the connection."""


class DamagedDatabaseError(DatabaseError):
    """The registry's database is lost or damaged; blobs and records can make it anew."""


class DamagedIndexError(DatabaseError):
    """The search index is damaged; all else in the database is sound."""


class OutdatedDatabaseError(DatabaseError):
    """The database is older than the records beside it."""


class ReplacedDatabaseError(DatabaseError):
    """Another process replaced the database during the wait for it."""


class AlteredRowsError(DatabaseError):
    """Rows, manifests, the log and its records contradict each other; some can be written again."""


class AlteredLogError(DatabaseError):
    """The log and its records contradict each other: one of them was altered."""


class BaseModelError(HubkitError):
    """There is a problem with the base model of an adapter."""


class BaseModelNotFoundError(BaseModelError):
    """The base model cannot be loaded from its place."""


class BaseModelMismatchError(BaseModelError):
    """Adapters, or an adapter and a model, do not share a base model."""


class OtherBaseError(BaseModelMismatchError):
    """The given base model is not that of an adapter.

    `expected` and `found` are the two, as manifests describe base models.
    """


class AdapterError(HubkitError):
    """The tensors of an adapter are missing, unexpected or of the wrong shape."""


class CompositionError(HubkitError):
    """A composition cannot be parsed, or its parts cannot be combined."""


class UnsupportedModelError(HubkitError):
    """hubkit knows no sites for this model architecture."""


class ExportError(HubkitError):
    """A model cannot be written as a graph, or the graph computes other values."""


class EngineError(HubkitError):
    """What computes in other processes cannot be used, or ended before its work did."""


class DataError(HubkitError):
    """A data set lacks a column, has no rows, or has values of the wrong kind."""


class MissingColumnError(DataError):
    """A data set has no column of the `given` name; its columns are `found`."""


class OtherTaskTypeError(DataError):
    """A data set fits no `given` task type; `found` is a tuple of the ones that it fits."""


class SeparatorError(DataError):
    """The separator of a file's columns is `found`, not `given`."""


class EncodingError(DataError):
    """A file is not text in the `given` encoding."""


class TextLengthError(DataError):
    """`given` tokens leave no room for text beside the special tokens of a base model."""


class LanguageCodeError(DataError):
    """A base model of many languages needs the code of one, or does not have the `given` code."""


class FoldsError(DataError):
    """Rows cannot be divided into the `given` number of folds; `found` is possible."""


class TooFewRowsError(DataError):
    """A data set has too few rows for training and validation."""


class NoProbeError(DataError):
    """A linear map cannot learn a task of this type from single rows, tokens or choices."""


class NoFlexibleHeadError(DataError):
    """AdapterHub's library has no trainable head of a task type."""


class AmbiguousDataSetError(DataError):
    """Several data sets have the `given` name; `found` are their full names."""


class UnfitRowsError(DataError):
    """Some of many adapters cannot be trained on their rows; `found` has the reason of each."""


class LabelError(DataError):
    """The labels of a data set and of an adapter differ."""


class RareLabelError(LabelError):
    """A label has too few rows for training and validation."""


class SingleLabelError(LabelError):
    """All rows of a data set have the same label: there is nothing to learn."""


class TrainingError(HubkitError):
    """Training cannot start, or failed."""


class DivergedError(TrainingError):
    """The loss grew without bound; `given` is the learning rate."""


class NoValidationError(TrainingError):
    """There are no rows to choose one of the `given` learning rates by."""


class ShortTrainingError(TrainingError):
    """Training ended while the loss was still falling."""


class PrecisionError(TrainingError):
    """This machine cannot compute in the `given` precision, only in the `expected` ones."""


class NoTrunkError(TrainingError):
    """No part of a model can be computed once for a whole training."""


class RunInUseError(TrainingError):
    """Another process is doing the same training."""


class RemoteError(HubkitError):
    """A hub did not fulfil a request.

    Args:
        message: The text for a person.
        subject: The hub's or the repository's URL.
        hub: The hub's URL; default: None, if the token does not matter.
        token_sent: Whether a token was sent.
        status: The HTTP status of the answer; default: None, if there was no answer.
    """

    def __init__(
        self,
        message: str,
        subject: object = None,
        *,
        hub: str | None = None,
        token_sent: bool = False,
        status: int | None = None,
        given: object = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        """Keep the facts of request and answer beside the message."""
        super().__init__(message, subject, given=given, expected=expected, found=found)
        self.hub = hub
        self.token_sent = token_sent
        self.status = status


class RemoteNotFoundError(RemoteError):
    """A hub has no such repository, revision or file, or hides it."""


class RemoteAccessError(RemoteError):
    """A hub needs a token, or one with more rights."""


class RemoteUnreachableError(RemoteError):
    """A hub does not answer, or its answer breaks off."""


class RemoteAnswerError(RemoteError):
    """A hub's answer breaks its protocol, or is longer than announced."""


class RequestError(HubkitError):
    """A request to a hub is malformed."""


class NoSuchPageError(RequestError):
    """A hub has nothing at the path of a request."""


class MethodError(RequestError):
    """The path of a request does not take its method, only the `allowed` ones."""

    def __init__(self, message: str, allowed: Iterable[str] = ()) -> None:
        """Keep the methods beside the message."""
        super().__init__(message, expected=tuple(allowed))
        self.allowed = tuple(allowed)


class HostError(RequestError):
    """A request is for a host that is not the hub's."""


class TooLargeError(RequestError):
    """The body of a request, or a part of it, is too large."""


class SignInError(RequestError):
    """A request needs a token, or has one that is not valid."""


class ForbiddenError(RequestError):
    """The caller does not have the right that a request needs."""


class MovedRepositoryError(RequestError):
    """A request has a former name of a repository, or another spelling; `found` is the path."""


class NotHostedError(RequestError):
    """A hub does not have the account of a repository."""


class UnsupportedRequestError(RequestError):
    """A hub does not support a request."""


def reason_of(error: BaseException) -> str:
    """Return what an error of Python or of a library says, on one line, without a full stop.

    That of a mapping is but the key that is missing, in quotes: here, it says so.
    """
    text = " ".join(str(error).split()).rstrip(".")
    if type(error) is KeyError and error.args:
        key = error.args[0]
        # Libraries put a sentence in its place.
        sentence = isinstance(key, str) and " " in key.strip()
        text = " ".join(key.split()).rstrip(".") if sentence else f"{key!r} is missing"
    return text or type(error).__name__


def listed(texts: Collection[str], most: int = 5) -> str:
    """Return the first texts of several, such as ``a, b and 3 more``.

    Args:
        texts: All of them, in their order.
        most: How many to name.
    """
    shown = ", ".join(islice(texts, most))
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"


def did_you_mean(text: str, candidates: Iterable[str]) -> str:
    """Return `` Did you mean a, b or c?`` for the nearest of `candidates`, or an empty string.

    It starts with a space, so that it can follow a sentence.
    """
    from difflib import get_close_matches  # only needed for an error

    near = get_close_matches(text, sorted(set(candidates)), n=3, cutoff=0.7)
    if not near:
        return ""
    listed = near[0] if len(near) == 1 else f"{', '.join(near[:-1])} or {near[-1]}"
    return f" Did you mean {listed}?"
