"""Names that count how often they are compared: what is quadratic shows without a clock."""


class Name(str):
    """A string that counts, over all of them, comparisons with other strings."""

    compared = 0

    def __eq__(self, other):
        Name.compared += 1
        return str.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def names(n):
    Name.compared = 0
    return [Name(f"x{i}") for i in range(n)]
