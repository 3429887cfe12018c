"""A table that forgets what was idle, for keys that anybody on the network can make up. Pure."""

from __future__ import annotations


class Generations:
    """Numbers by key, at most ``capacity`` of them, in a young and an old generation.

    Whoever uses the table looks into ``young``, else has :meth:`take` bring the key there. :meth:`make_room`
    lets go of the old generation once the young one has half of the room, or is ``idle_ns`` old: what is used
    stays, what is idle for ``idle_ns`` to twice that is gone. There is no clean-up to wait for, and a flood
    of new keys costs a dictionary's look-ups.
    """

    def __init__(self, capacity: int, idle_ns: int, now_ns: int) -> None:
        self.young: dict[int, int] = {}
        self.old: dict[int, int] = {}
        self._half = capacity // 2
        self._idle_ns = idle_ns
        self._since_ns = now_ns

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def make_room(self, coming: int, now_ns: int) -> None:
        """For so many keys that may be new; at most half of the capacity."""
        age_ns = now_ns - self._since_ns
        if age_ns >= 2 * self._idle_ns:  # whoever is in here was idle for half of that at least
            self.young, self.old, self._since_ns = {}, {}, now_ns
        elif age_ns >= self._idle_ns:
            self.young, self.old, self._since_ns = {}, self.young, self._since_ns + self._idle_ns
        elif len(self.young) + coming > self._half:
            self.young, self.old, self._since_ns = {}, self.young, now_ns

    def take(self, key: int, default: int) -> int:
        """The number of a key that is not in ``young``, which has it from here on."""
        number = self.young[key] = self.old.pop(key, default)
        return number
