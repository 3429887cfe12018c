"""What goes wrong with a card, told in one line."""


class CardError(Exception):
    """Names what it is about, what was found and what is expected."""
