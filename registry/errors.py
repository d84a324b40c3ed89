"""Every error hubkit raises on purpose.

HubkitError
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
    """Something hubkit refuses to do; the command line prints it and exits with 1.

    Args:
        message: The whole sentence a person reads.
        subject: The offending object: a ref, a path, a digest, a field.
        given: What the caller asked for or passed; default: None, which says nothing of it.
        expected: What would have been right; default: None.
        found: What was there instead; default: None.
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


class InvalidNameError(HubkitError):
    """A name, ref, digest, path or line of text is not spelled the way hubkit spells them."""


class PartOfAdapterError(InvalidNameError):
    """One version is named where only a whole adapter can be meant; it is `given`."""


class NotFoundError(HubkitError):
    """Something asked for by name is not there."""


class RegistryNotFoundError(NotFoundError):
    """A folder holds no registry."""


class BackupNotFoundError(RegistryNotFoundError):
    """A folder holds no backup of a registry."""


class RefNotFoundError(NotFoundError):
    """No adapter has this name."""


class NoCandidateError(NotFoundError):
    """The registry has no adapter that could be used for what was asked."""


class VersionNotFoundError(NotFoundError):
    """The adapter exists, but has no usable version like the one asked for."""


class AliasNotFoundError(NotFoundError):
    """The adapter exists, but has no such alias."""


class AccountNotFoundError(NotFoundError):
    """No user or organisation has this name; `expected` is the kind, if one was."""


class TokenNotFoundError(NotFoundError):
    """A user has no token of this name; `subject` is the user's."""


class RepositoryNotFoundError(NotFoundError):
    """There is no repository of that name on a hub, or none that the reader may see."""


class HiddenFromStrangersError(RepositoryNotFoundError):
    """The same, and whoever asks has shown no token."""


class RevisionNotFoundError(NotFoundError):
    """A repository has no such branch, tag or commit."""


class EntryNotFoundError(NotFoundError):
    """A commit has no such file or folder."""


class ParentNotFoundError(NotFoundError):
    """A fusion, stack or mix is made of an adapter that this registry does not have."""


class FusedAdapterNotFoundError(ParentNotFoundError):
    """Nothing here is called as a fusion's folder calls one of the adapters it is made of."""


class ConflictError(HubkitError):
    """A name or number is already taken by something else."""


class OtherKindError(ConflictError):
    """A name means another kind of thing: `found` says what, `given` what was to be published."""


class EarlierExportError(ConflictError):
    """A folder that a model is to be exported to holds another export."""


class ExistsError(ConflictError):
    """There is a repository, a branch or a tag of that name already."""


class StaleParentError(ConflictError):
    """Somebody else committed meanwhile: the branch is not where the commit was made for."""


class TakenAddressError(ConflictError):
    """Another program listens where a hub is to be served."""


class RemoteConflictError(ConflictError):
    """What is to be published has no place in a repository on a hub, which holds something else."""


class PasswordError(HubkitError):
    """A password is too short or too long, or what is needed to keep it is not installed."""


class ManifestError(HubkitError):
    """A manifest is malformed, or of a schema this hubkit does not read."""


class FolderError(HubkitError):
    """A folder does not hold what its manifest says, or holds no adapter."""


class HeadLabelsError(FolderError):
    """The labels of a head are not what its weights and its files say.

    `expected` is the number of classes that its weights tell apart, 0 if there is no head; `found`
    are the labels that its files name; `given` are those that the caller named.
    """


class UnknownBaseError(FolderError):
    """A folder does not say which base model it is for, or names more than one."""


class UnknownTaskError(FolderError):
    """A folder does not say what its adapter does."""


class UnknownParentsError(FolderError):
    """A fusion's folder does not say which published adapters it is made of."""


class PickledWeightsError(FolderError):
    """A folder holds weights as a pickle, which loading could make run code."""


class CorruptBlobError(HubkitError):
    """Stored or received bytes are not the ones their digest promises."""


class DamagedBlobError(CorruptBlobError):
    """Bytes of a registry are missing, cut off or altered."""


class BundleError(HubkitError):
    """A bundle is malformed, cut off, or holds something else than it says."""


class StorageError(HubkitError):
    """The file system refused: disk full, no permission, read-only."""


class FullDiskError(StorageError):
    """A disk, or the user's part of it, has too little space left to work with."""


class NotAFileError(StorageError):
    """What should be a file is a folder, a pipe, a socket, a device or an open database."""


class DatabaseError(HubkitError):
    """The registry's database cannot be used."""


class NewerDatabaseError(DatabaseError):
    """The registry's database was written by a newer hubkit."""


class BusyDatabaseError(DatabaseError):
    """Others use the registry's database for longer than a transaction waits, or too many do."""


class UnreachableDatabaseError(DatabaseError):
    """The server of the registry's database does not answer, or ended the connection."""


class DamagedDatabaseError(DatabaseError):
    """The registry's database is lost or damaged; blobs and records can make it anew."""


class DamagedIndexError(DatabaseError):
    """The search index is damaged; all else in the database is sound."""


class OutdatedDatabaseError(DatabaseError):
    """The database is older than the records beside it."""


class ReplacedDatabaseError(DatabaseError):
    """Another process put another database in this one's place while it was waited for."""


class AlteredRowsError(DatabaseError):
    """Rows, manifests, the log and its records do not say the same; some can be written again."""


class AlteredLogError(DatabaseError):
    """The log and its records contradict each other: somebody altered one of them."""


class BaseModelError(HubkitError):
    """Something is wrong with the base model of an adapter."""


class BaseModelNotFoundError(BaseModelError):
    """The base model cannot be loaded from where it was looked for."""


class BaseModelMismatchError(BaseModelError):
    """Adapters, or an adapter and a model, do not share a base model."""


class OtherBaseError(BaseModelMismatchError):
    """The base model at hand is not the one that an adapter belongs to.

    `expected` and `found` are the two, as manifests describe base models.
    """


class AdapterError(HubkitError):
    """The tensors of an adapter are missing, unexpected or of the wrong shape."""


class CompositionError(HubkitError):
    """A composition cannot be parsed, or combines what cannot be combined."""


class UnsupportedModelError(HubkitError):
    """hubkit knows no sites for this model architecture."""


class ExportError(HubkitError):
    """A model cannot be written as a graph, or the graph does not compute what the model does."""


class DataError(HubkitError):
    """A data set lacks a column, has no rows, or holds values of the wrong kind."""


class MissingColumnError(DataError):
    """A data set has no column of the name that was `given`; those it has are `found`."""


class OtherTaskTypeError(DataError):
    """A data set fits no task type that was `given`; a tuple of those that it fits is `found`."""


class SeparatorError(DataError):
    """The columns of a file are separated by something else; `given` was expected, `found` is."""


class EncodingError(DataError):
    """A file is not text in the encoding that was `given`."""


class TextLengthError(DataError):
    """`given` tokens leave no room for text beside the special tokens of a base model."""


class LanguageCodeError(DataError):
    """A base model of many languages needs the code of one, or has no such code as was `given`."""


class FoldsError(DataError):
    """Rows cannot be divided into as many folds as were `given`; `found` would do."""


class TooFewRowsError(DataError):
    """A data set has too few rows to train on some and to validate with others."""


class NoProbeError(DataError):
    """A task type has nothing that a linear map could learn of single rows, tokens or choices."""


class NoFlexibleHeadError(DataError):
    """AdapterHub's library has no head of a task type that could be trained."""


class AmbiguousDataSetError(DataError):
    """Several data sets have the name that was `given`; `found` are their full names."""


class UnfitRowsError(DataError):
    """Some of many adapters have rows that cannot be trained on; `found` has the reason of each."""


class LabelError(DataError):
    """The labels of a data set and of an adapter differ."""


class RareLabelError(LabelError):
    """A label has too few rows to train on some and to validate with others."""


class SingleLabelError(LabelError):
    """All rows of a data set have one label, so that there is nothing to learn."""


class TrainingError(HubkitError):
    """Training cannot start, or went wrong."""


class DivergedError(TrainingError):
    """The loss grew without bound; `given` is the learning rate."""


class NoValidationError(TrainingError):
    """There are no rows to choose by between the learning rates that were `given`."""


class ShortTrainingError(TrainingError):
    """Training ended while the loss was still falling."""


class PrecisionError(TrainingError):
    """This machine cannot compute in the precision that was `given`, but in those `expected`."""


class NoTrunkError(TrainingError):
    """Nothing in a model can be computed once for a whole training."""


class RunInUseError(TrainingError):
    """Another process is doing the same training."""


class RemoteError(HubkitError):
    """A hub does not do what it is asked.

    Args:
        message: The whole sentence a person reads.
        subject: The hub's or the repository's URL.
        hub: The hub's URL; default: None, where the token that it was shown plays no part.
        token_sent: Whether it was shown a token.
        status: The HTTP status that it answered; default: None, where it did not answer.
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
        """Keep what was asked, and what was answered, beside the message."""
        super().__init__(message, subject, given=given, expected=expected, found=found)
        self.hub = hub
        self.token_sent = token_sent
        self.status = status


class RemoteNotFoundError(RemoteError):
    """A hub has no such repository, revision or file, or hides it."""


class RemoteAccessError(RemoteError):
    """A hub wants a token, or one with more rights."""


class RemoteUnreachableError(RemoteError):
    """A hub does not answer, or stops half-way."""


class RemoteAnswerError(RemoteError):
    """A hub answers something that its protocol does not allow, or more than it announced."""


class RequestError(HubkitError):
    """A request to a hub is malformed."""


class NoSuchPageError(RequestError):
    """A hub has nothing at the path of a request."""


class MethodError(RequestError):
    """What is at the path of a request does not take its method, but those `allowed`."""

    def __init__(self, message: str, allowed: Iterable[str] = ()) -> None:
        """Keep the methods beside the message."""
        super().__init__(message, expected=tuple(allowed))
        self.allowed = tuple(allowed)


class HostError(RequestError):
    """A request is for another host than those that a hub answers for."""


class TooLargeError(RequestError):
    """The body of a request, or a part of it, is larger than a hub takes."""


class SignInError(RequestError):
    """A request needs a token, or has one that is not valid."""


class ForbiddenError(RequestError):
    """Whoever sends a request may not do what it asks for."""


class MovedRepositoryError(RequestError):
    """A repository is asked for by another name than it has; `found` is the path to ask for."""


class NotHostedError(RequestError):
    """A repository would belong to an account that a hub does not have."""


class UnsupportedRequestError(RequestError):
    """A hub does not do what a request asks for."""


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


def listed(texts: Collection[str], most: int = 5, between: str = ", ") -> str:
    """Return the first texts of several, such as ``a, b and 3 more``.

    Args:
        texts: All of them, in their order.
        most: How many to name.
        between: What separates them.
    """
    shown = between.join(islice(texts, most))
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"


def did_you_mean(text: str, candidates: Iterable[str]) -> str:
    """Return `` Did you mean a, b or c?`` for the nearest of `candidates`, or an empty string.

    Starts with a space, so that it can be appended to a sentence as it is.
    """
    from difflib import get_close_matches  # only needed once something already went wrong

    near = get_close_matches(text, sorted(set(candidates)), n=3, cutoff=0.7)
    if not near:
        return ""
    listed = near[0] if len(near) == 1 else f"{', '.join(near[:-1])} or {near[-1]}"
    return f" Did you mean {listed}?"
