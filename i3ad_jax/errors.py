"""The one exception that a user's mistake raises."""


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the file or the option and says what to do. The commands
    print it and exit with code 2; it never shows a traceback.
    """
