#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes corpus/: pools as a death leaves them, and damaged ones, each with the
calls that matter for it. The format is told in engine_fuzz.c."""

import os

NONE, ALL_ONES, HIGH_BIT, COUNT = 255, 254, 253, 252	# indices that are limits
DEPOT = 15						# owner
LIVING, DEAD, OTHER = 1, 2, 3				# clients
ORPHANS, HELD, DRAIN_DEPOT, DRAIN_CACHE, COUNT_CLIENT, COUNT_DEPOT, TRACED, AUDIT, \
    POKE, POKE_DURING, DIES = range(11)

RECOVER = [DIES, DEAD, ORPHANS, 0, HELD, DEAD - 1, AUDIT, 0, ORPHANS, 0, HELD, DEAD - 1]
ALL = [call for nr in range(8) for call in (nr, 0, nr, 1)]


class Pool:
    """A pool whose buffers are all the kernel's."""

    def __init__(self, count=12, threads=2):
        self.count, self.threads = count, threads
        self.absent, self.kernel = 0, (1 << count) - 1
        self.owner = [LIVING, DEAD, 0][:threads]
        self.head, self.tag = NONE, 0
        self.slots = [{"busy": 0, "journal": NONE, "n": None, "items": []}
                      for _ in range(threads)]
        self.descs = [{"owner": 0, "gen": 0, "next": NONE, "count": None, "items": []}
                      for _ in range(count)]

    def hold(self, client, *buffers, flags=0):
        for i in buffers:
            self.kernel &= ~(1 << i)
            self.descs[i]["owner"] = client | flags << 4
        return self

    def batch(self, client, leader, *members):
        self.hold(client, leader, *members)
        self.descs[leader].update(owner=DEPOT, gen=1, items=list(members))
        return self

    def push(self, client, leader, *members):
        self.batch(client, leader, *members)
        self.descs[leader]["next"], self.head, self.tag = self.head, leader, self.tag + 1
        return self

    def cache(self, slot, *buffers):
        self.slots[slot]["items"] += buffers
        return self.hold(self.owner[slot], *buffers)

    def set(self, where, **values):
        where.update(values)
        return self

    def desc(self, i, **values):
        return self.set(self.descs[i], **values)

    def slot(self, i, **values):
        return self.set(self.slots[i], **values)

    def bitmap(self, bits):
        return list(bits.to_bytes((self.count + 7) // 8, "little"))

    def encode(self, script):
        out = [self.count - 1, self.threads]
        out += self.bitmap(self.absent) + self.bitmap(self.kernel)
        out += self.owner + [1, self.head, self.tag]
        for s in self.slots:
            n = len(s["items"]) if s["n"] is None else s["n"]
            out += [s["busy"], n, s["journal"]] + s["items"]
        for d in self.descs:
            count = len(d["items"]) if d["count"] is None else d["count"]
            out += [d["owner"], d["gen"], d["next"], count] + d["items"]
        return bytes(out + script)


def orphan():
    return Pool().push(LIVING, 8, 9).batch(LIVING, 2, 3, 4)


SEEDS = {
    # what a death leaves: the table of recover.c
    "died-before-c": (Pool().push(DEAD, 2, 3, 4).slot(1, journal=2), RECOVER),
    "died-before-d": (orphan().slot(1, journal=2), RECOVER),
    "died-within-d": (orphan().hold(DEAD, 3), RECOVER),
    "died-before-e": (Pool().hold(DEAD, 2, 3, 4).desc(2, items=[3, 4]), RECOVER),
    "died-before-i": (Pool().batch(DEAD, 2, 3, 4).slot(1, journal=2), RECOVER),
    "died-before-j": (Pool().push(DEAD, 2, 3, 4).cache(1, 5, 6), RECOVER),
    "died-with-cache": (Pool().cache(1, 5, 6).hold(DEAD, 7), RECOVER),
    "died-exported": (Pool().hold(DEAD, 5, flags=1).hold(LIVING, 6, flags=2), RECOVER),
    # who is in the way of a decision
    "journal-of-the-living": (orphan().slot(0, journal=2),
                              RECOVER + [POKE, 6, 0, NONE] + RECOVER),
    "journal-out-of-range": (orphan().slot(0, journal=COUNT), RECOVER),
    # what moves meanwhile
    "import-during-held": (Pool().hold(DEAD, 5, flags=1),
                           [DIES, DEAD, POKE_DURING, 40, 2, 5, OTHER, HELD, DEAD - 1, AUDIT, 0]),
    "head-moves-once": (orphan(), [POKE_DURING, 60, 0, 0, 0] + RECOVER),
    "head-moves-on": (orphan(), [byte for at in range(50, 58)
                                 for byte in (POKE_DURING, at * 2, 0, 0, 0)] + RECOVER),
    "journal-comes-late": (orphan(), [POKE_DURING, 70, 6, 0, 2] + RECOVER),
    "pushed-again-meanwhile": (orphan(), [POKE_DURING, 80, 11, 2, 0] + RECOVER),
    # damage
    "cycle": (Pool().push(LIVING, 2, 3).push(LIVING, 4, 5).desc(2, next=4), ALL),
    "next-out-of-range": (Pool().push(LIVING, 2, 3).desc(2, next=COUNT), ALL),
    "head-out-of-range": (Pool(), [POKE, 1, 0, COUNT] + ALL),
    "next-is-held": (Pool().push(LIVING, 2, 3).push(LIVING, 4).hold(OTHER, 2), ALL),
    "count-too-large": (orphan().desc(2, count=29, items=[3] * 28), RECOVER + ALL),
    "count-huge": (orphan().desc(2, count=255, items=[3] * 28), RECOVER + ALL),
    "members-bad": (orphan().desc(2, items=[3, 3, 2, COUNT, ALL_ONES, HIGH_BIT, 11, 8]),
                    RECOVER + ALL),
    "cache-too-full": (Pool().slot(0, n=65, items=[1] * 64), ALL),
    "cache-bad": (Pool().cache(0, 5).slot(0, items=[5, 5, COUNT, ALL_ONES, 11]),
                  [DRAIN_CACHE, 0] + ALL),
    "kernel-says-depot": (Pool().desc(2, owner=DEPOT, items=[3]).desc(3, owner=DEAD), RECOVER),
    # the other calls, on pools that are well
    "drain": (Pool(20).push(LIVING, 2, 3, 4).push(DEAD, 5).push(OTHER, 6, 7),
              [COUNT_DEPOT, 0, DRAIN_DEPOT, 0, AUDIT, 0]),
    "every-place": (Pool(70, 3).push(LIVING, 2, 3).cache(0, 4, 5).hold(LIVING, 6)
                    .batch(LIVING, 64, 65, 69).slot(0, journal=64), ALL),
    "one-buffer": (Pool(1, 0).hold(LIVING, 0), ALL),
}


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        os.unlink(os.path.join(folder, old))
    for name, (pool, script) in SEEDS.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(pool.encode(script))


main()
