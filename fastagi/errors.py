"""The root of every error this package raises on purpose."""


class CallbackError(Exception):
    """Something this service knows how to name.

    The text of each is a sentence an operator may read.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
