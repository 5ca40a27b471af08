"""Ways in which a connection ends that its peer did not announce."""


class Fault(Exception):
    """The other end broke the page. The text says how, and contains none of its bytes."""


class WrongPhrase(Exception):
    """The other end has another phrase."""


class Lost(Exception):
    """The stream ended."""


class Refused(Exception):
    """This end wants no link with the peer."""
