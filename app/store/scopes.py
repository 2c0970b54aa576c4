"""What a key allows."""

from enum import StrEnum


class Scope(StrEnum):
    """Each allows what those before it allow."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def covers(self, needed: "Scope") -> bool:
        """Whether a key of this scope may do what asks for `needed`."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)
