"""Exception classes, one for each way of handling an error."""

from collections.abc import Mapping


class UserError(Exception):
    """An error that is shown to the person: a locale key and its values, no text.

    `ui` looks *key* up in the locale files and formats *values*; times are UTC milliseconds, money is micro-dollars.
    """

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values: Mapping[str, object] = values


class ProviderError(Exception):
    """A request to a provider failed.

    The text is for the log: written by us, with the provider's codes, without its own text.
    """

    finished = False  # whether the provider has said that the run is over


class ProviderUnavailable(ProviderError):
    """The provider did not accept the request, which itself is valid: the job stays and is tried again later."""

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after  # seconds, from the provider's answer


class RunNotKnownYet(ProviderUnavailable):
    """The provider answers, but does not know a new run yet; this does not count as an outage."""


class ProviderPaused(ProviderError):
    """The provider refuses the account until the operator acts; *kind* is `credentials` or `balance`."""

    def __init__(self, text: str, *, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class ProviderRejected(ProviderError):
    """The provider rejects this request permanently: the job fails."""


class ModelGone(ProviderRejected):
    """The provider no longer has the model: the job fails, and the operator is notified."""


class ProviderRefused(ProviderError):
    """The provider's content policy refused the request: the job ends as refused."""


class SubmitUnknown(ProviderError):
    """The provider may or may not have accepted a paid request: it must not be sent again."""


class RunLost(ProviderError):
    """The provider no longer knows this run."""


class AnswerUnreadable(ProviderError):
    """The provider answered with success in an unknown form; *shape* has its keys and types, no values."""

    def __init__(self, text: str, *, shape: str, finished: bool = False) -> None:
        super().__init__(text)
        self.shape = shape
        self.finished = finished


class NotSearchable(ProviderError):
    """The provider has no search for a run by our reference."""


class DownloadFailed(Exception):
    """A file could not be downloaded; *permanent*: another attempt would fail as well."""

    def __init__(self, text: str, *, permanent: bool) -> None:
        super().__init__(text)
        self.permanent = permanent


class BadLink(DownloadFailed):
    """A link that no allow list can permit; no request is sent to it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, permanent=True)


class FileTooLarge(DownloadFailed):
    """A file has more bytes than the limit, whatever its Content-Length says."""

    def __init__(self, text: str) -> None:
        super().__init__(text, permanent=True)


class HostNotAllowed(Exception):
    """A file is on an internet host that the operator has not allowed."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


class BadPicture(Exception):
    """Bytes that are not an acceptable picture; *problem* is a stable word such as `type`, `pixels`, `broken`.

    For `pixels`, *width* and *height* are the picture's and *limit* is the largest allowed product of the two.
    """

    def __init__(self, problem: str, *, width: int = 0, height: int = 0, limit: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.width = width
        self.height = height
        self.limit = limit


class PathClosed(Exception):
    """A reply cannot be updated by this path; it may be later, unless *permanent*.

    *channel*: every other path into the reply's channel is closed as well at the moment.
    """

    def __init__(self, text: str, *, permanent: bool = False, channel: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent
        self.channel = channel


class RateLimitReached(Exception):
    """A card was not sent, because that would use up a rate limit of Discord; this is no failed attempt."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"to be sent in {retry_after:.1f} s")
        self.retry_after = retry_after  # seconds


class MessageGone(Exception):
    """The reply's message was deleted."""


class TooLarge(Exception):
    """The files are larger than Discord accepts."""


class ContentBlocked(Exception):
    """Discord blocks this text or these files: a filter of the server, or a missing permission."""


class DeliverLater(Exception):
    """Discord is unreachable or limits the rate; *retry_after* in seconds."""

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
