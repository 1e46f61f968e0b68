"""The exceptions of the library, named for what the caller can do about them."""


class CryosnakeError(Exception):
    """Base of all errors that carry a message meant for the operator."""


class BadInputError(CryosnakeError):
    """An input cannot be used: the message names the file, the value and what was expected.

    It ends that movie (a rejected row and a decision), never the session.

    Parameters
    ----------
    path : the file that was read (or None where the value is not from a file).
    problem : what was found.
    expected : what was expected instead.
    """

    def __init__(self, path, problem: str, expected: str = ""):
        self.path = path
        self.problem = problem
        self.expected = expected
        where = f"{path}: " if path is not None else ""
        tail = f"; expected {expected}" if expected else ""
        super().__init__(f"{where}{problem}{tail}")


class ToolError(CryosnakeError):
    """An external program failed.

    Parameters
    ----------
    command : the command line, as it can be pasted into a shell.
    exit_code : the exit code, or None where the program could not be started.
    log_tail : the end of what it printed.
    """

    def __init__(self, command: str, exit_code: int | None, log_tail: str):
        self.command = command
        self.exit_code = exit_code
        self.log_tail = log_tail
        super().__init__(f"command failed with exit code {exit_code}: {command}\n{log_tail}")


class SessionStopError(CryosnakeError):
    """The session cannot or must not go on (a lock is held, a quality gate stops it)."""
