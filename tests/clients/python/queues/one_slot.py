"""A connection that keeps a whole library in one slot: it puts a hashtag before every
key. RQ needs it, whose transactions take in keys that share no tag and whose names
cannot be chosen.

    rq worker --connection-class queues.one_slot.OneSlot ...
"""

import redis

TAG = "{jobs}"


class Tagging:
    """Where a command has its keys, the server's own table tells; scripts say how
    many they have, first of all."""

    tables = {}

    def tagged(self, words):
        # By process, not by connection: pools and pipelines come and go.
        if not Tagging.tables:
            Tagging.tables.update(redis.Redis(connection_pool=self.connection_pool).command())
        words = list(words)
        name = words[0].split()[0].lower()
        row = Tagging.tables.get(name)
        if name in ("eval", "evalsha"):
            places = range(3, 3 + int(words[2]))
        elif row and row["first_key_pos"] > 0:
            last = row["last_key_pos"]
            places = range(row["first_key_pos"], (last if last > 0 else len(words) + last) + 1, row["step_count"])
        else:
            places = ()
        for place in places:
            key = words[place]
            words[place] = TAG.encode() + key if isinstance(key, bytes) else TAG + str(key)
        return words

    def execute_command(self, *words, **options):
        return super().execute_command(*self.tagged(words), **options)

    def parse_response(self, connection, command_name, **options):
        answer = super().parse_response(connection, command_name, **options)
        if command_name in ("BLPOP", "BRPOP") and answer:
            return [answer[0].removeprefix(TAG.encode()), *answer[1:]]
        return answer


class TaggingPipeline(Tagging, redis.client.Pipeline):
    pass


class OneSlot(Tagging, redis.Redis):
    def pipeline(self, transaction=True, shard_hint=None):
        return TaggingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
