"""Everything that can go wrong, as classes named for what to do about it."""

from collections.abc import Mapping


class UserError(Exception):
    """Something a person can put right or should know: a message key and its values, never words.

    `ui` looks *key* up in the locale files and fills in *values*; numbers stay numbers and
    times stay UTC milliseconds until then.
    """

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values: Mapping[str, object] = values


class ProviderError(Exception):
    """A host did not do as asked; the text is for the log: our own words and the host's codes, never its prose."""

    finished = False  # whether the host has said, all the same, that the run is over


class ProviderUnavailable(ProviderError):
    """Nothing was taken and nothing is wrong with the request: keep the job, try later."""

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after  # seconds, as the host asked


class RunNotKnownYet(ProviderUnavailable):
    """The host answers well, but does not know a run that is new: not a sign that it is down."""


class ProviderPaused(ProviderError):
    """The host takes nothing from us until the operator acts; *kind* is `credentials` or `balance`."""

    def __init__(self, text: str, *, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class ProviderRejected(ProviderError):
    """The host will never take this request as it is: the job fails."""


class ModelGone(ProviderRejected):
    """The host does not know the model any more: the job fails, the operator is told."""


class ProviderRefused(ProviderError):
    """The host's content policy said no: an outcome of its own."""


class SubmitUnknown(ProviderError):
    """The host may or may not have taken a paid request: never send it again."""


class RunLost(ProviderError):
    """The host no longer knows this run."""


class AnswerUnreadable(ProviderError):
    """The host answered well, but not in a form we know; *shape* is that form: keys and types, no values."""

    def __init__(self, text: str, *, shape: str, finished: bool = False) -> None:
        super().__init__(text)
        self.shape = shape
        self.finished = finished


class NotSearchable(ProviderError):
    """The host offers no way to find a run by our own reference."""


class DownloadFailed(Exception):
    """A file could not be fetched; *lasting* says whether asking again is pointless."""

    def __init__(self, text: str, *, lasting: bool) -> None:
        super().__init__(text)
        self.lasting = lasting


class BadLink(DownloadFailed):
    """A link that is never followed, whatever the operator allows: nothing was asked, and nothing will be."""

    def __init__(self, text: str) -> None:
        super().__init__(text, lasting=True)


class FileTooLarge(DownloadFailed):
    """A file has more bytes than are taken, whatever its server announced."""

    def __init__(self, text: str) -> None:
        super().__init__(text, lasting=True)


class HostNotAllowed(Exception):
    """A file lies on a host that the operator has not allowed."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


class BadPicture(Exception):
    """Bytes that are not a picture we take; *problem* is a stable word such as `type`, `pixels`, `broken`.

    With `pixels` come the picture's *width* and *height*, and the *limit* of their product.
    """

    def __init__(self, problem: str, *, width: int = 0, height: int = 0, limit: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.width = width
        self.height = height
        self.limit = limit


class PathClosed(Exception):
    """This way does not lead to the reply; others may, and this one later, unless it is closed *for_good*.

    *channel*: no other way leads into its channel at the moment.
    """

    def __init__(self, text: str, *, for_good: bool = False, channel: bool = False) -> None:
        super().__init__(text)
        self.for_good = for_good
        self.channel = channel


class MessageGone(Exception):
    """Somebody deleted the reply."""


class TooLarge(Exception):
    """Discord takes smaller files than these."""


class ContentBlocked(Exception):
    """Discord does not let this text or these files through: filters of the server, or a missing permission."""


class DeliverLater(Exception):
    """Discord cannot be reached or asks for patience; *retry_after* in seconds."""

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
