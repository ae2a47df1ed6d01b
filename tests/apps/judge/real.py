"""What a real cluster says to the same calls: each unit goes to the node that owns its
first key, as a cluster client would send it, over a connection that follows nothing."""

from wire import Refused, Wire

#: What a cluster says, and one Redis never, to what spans slots or needs more than slots.
REFUSALS = (
    "CROSSSLOT",
    "MOVED",
    "not allowed in cluster mode",
    "denied in cluster mode",
    "non local key",
    "do not hash to the same slot",
)
#: Where a command that waits has its patience, which a replay has not: by its name, the
#: place of the number and what to put there.
WAITS = {
    "blpop": (-1, b"0.01"), "brpop": (-1, b"0.01"), "blmove": (-1, b"0.01"), "brpoplpush": (-1, b"1"),
    "bzpopmin": (-1, b"0.01"), "bzpopmax": (-1, b"0.01"), "blmpop": (1, b"0.01"), "bzmpop": (1, b"0.01"),
}
#: They have no keys, and a cluster refuses them, or the state depends on them.
WITHOUT_KEYS = {"select", "move", "swapdb", "eval", "evalsha", "fcall"}
#: Done on every node, as whoever cares does.
EVERYWHERE = {"flushall", "flushdb", "script"}


def refused(answer):
    """Why, if a cluster's rules are the reason."""
    if isinstance(answer, list):
        return next((why for why in map(refused, answer) if why), None)
    if isinstance(answer, Refused):
        text = str(answer)
        if any(refusal.lower() in text.lower() for refusal in REFUSALS):
            return text
    return None


class Real:
    def __init__(self, cluster, single):
        self.cluster, self.known = cluster, {}
        #: Says where the keys of a command are.
        self.single = Wire(single.port)

    def keys(self, call):
        words = tuple(call.words)
        if words not in self.known:
            answer = self.single.ask("COMMAND", "GETKEYS", *words)
            self.known[words] = [] if isinstance(answer, Refused) else answer
        return self.known[words]

    def node(self, calls):
        """The owner of the first key there is; for a script that is told of none, one
        that has not the key that it uses: a client would not know where to go."""
        for call in calls:
            for key in self.keys(call):
                return self.cluster.owners[self.cluster.slot(key)]
        for call in calls:
            for inner in call.inner:
                for key in self.keys(inner):
                    return (self.cluster.owners[self.cluster.slot(key)] + 1) % 3
        return 0

    def said(self, call):
        words = list(call.words)
        if call.name in WAITS:
            place, patience = WAITS[call.name]
            words[place] = patience
        if call.name in ("xread", "xreadgroup"):
            for place, word in enumerate(words[:-1]):
                if word.lower() == b"block":
                    words[place + 1] = b"1"
        return words

    def judge(self, unit):
        """Why the cluster refuses it, or None."""
        if unit.multi or unit.watches:
            return self.transaction(unit)
        call = unit.calls[0]
        if call.name in EVERYWHERE:
            self.cluster.everywhere(*call.words)
            return None
        if not self.keys(call) and call.name not in WITHOUT_KEYS:
            return None
        if call.name == "eval":
            # Who says EVAL once says EVALSHA from then on, to whichever node.
            self.cluster.everywhere("SCRIPT", "LOAD", call.words[1])
        return self.on(self.node([call]), [call])

    def transaction(self, unit):
        calls = list(unit.watches)
        # Of what was aborted MONITOR does not show what was queued.
        if unit.calls:
            calls += [unit.multi, *unit.calls, unit.exec]
        return self.on(self.node(calls), calls) if calls else None

    def on(self, node, calls):
        wire = Wire(self.cluster.servers[node].port)
        try:
            answers = [wire.ask(*self.said(call)) for call in calls]
        finally:
            wire.close()
        # A WATCH that crosses slots by itself is a unit, too, and judged there.
        alone = len(calls) == 1
        why = [refused(a) for call, a in zip(calls, answers) if alone or call.name != "watch" or not self.crosses([call])]
        return next(filter(None, why), None)

    def crosses(self, calls):
        return len({self.cluster.slot(key) for call in calls for key in self.keys(call)}) > 1

    def hangs_on_luck(self, unit):
        """Whether a guard and what it guards lie in different slots of one node."""
        return bool(unit.watches) and self.crosses([*unit.watches, *unit.calls])

    def judge_parted(self, unit):
        """The same once these slots have different owners. Takes an empty cluster."""
        calls = [*unit.watches, *unit.calls]
        places = [self.cluster.slot(key) for call in calls for key in self.keys(call)]
        # The first one decides where all of it is sent.
        moved = next(slot for slot in places if slot != places[0])
        home = self.cluster.owners[moved]
        self.cluster.give(moved, (home + 1) % 3)
        try:
            return self.transaction(unit)
        finally:
            self.cluster.flush()
            self.cluster.give(moved, home)

    def shape(self, unit):
        """What units have in common that a cluster must treat alike: the commands, and
        which of their keys share a slot or a node."""
        slots, nodes, parts = {}, {}, []
        for call in [*unit.watches, *([unit.multi] if unit.multi else []), *unit.calls]:
            for said in [call, *call.inner]:
                places = []
                for key in self.keys(said):
                    slot = self.cluster.slot(key)
                    node = self.cluster.owners[slot]
                    places.append((slots.setdefault(slot, len(slots)), nodes.setdefault(node, len(nodes))))
                what = said.words[1] if said.name in ("select", "move") else b""
                parts.append((said.name, what, tuple(places), said is not call))
        # SORT is judged by its options.
        sorts = tuple(tuple(call.words[2:]) for call in unit.calls if call.name.startswith("sort"))
        return tuple(parts), sorts
