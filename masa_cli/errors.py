"""Errors that are shown to the user.

Everything a user can cause ends in one of these two lines: what happened (with the value and the
place) and how to go on. Mistakes of the programmer stay ValueError and TypeError.
"""


class MasaError(Exception):
    """A problem the user can solve, with the way to solve it.

    Args:
        problem: what happened, with the value and where (file, line, frame, option).
        fix: how to go on, as an instruction.
    """

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}\nfix: {self.fix}"


class SourceError(MasaError):
    """The video, folder of frames or detections file cannot be read."""


class OutputError(MasaError):
    """The results cannot be written, or would overwrite something."""


class WeightsError(MasaError):
    """A file of weights is missing, damaged, or not what it was taken for."""


class SettingsError(MasaError):
    """An option or setting has a value that cannot work."""


class UsageError(MasaError):
    """The command line itself is wrong: what is asked for is missing, or excludes itself."""


class Interrupted(Exception):
    """The user asked to stop; everything written so far has been closed.

    Args:
        kept: one sentence on what was kept and how to go on.
    """

    def __init__(self, kept: str) -> None:
        super().__init__(kept)
        self.kept = kept


def shortened(line: str, length: int = 80) -> str:
    """A line as it is quoted in errors; its end is cut where it is long."""
    return line if len(line) <= length else line[:length] + "…"
