"""Weight sharing on the integers."""

__all__: list[str] = []
