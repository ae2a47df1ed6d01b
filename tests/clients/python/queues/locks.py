"""A lock without scripts, for servers that have none: redis-py's own, except that it
looks and then acts under WATCH where redis-py runs a script.

    client.lock("name", timeout=10, lock_class=WatchingLock)
"""

import redis
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock


class WatchingLock(Lock):
    def register_scripts(self):
        pass

    def if_owned(self, token, act, failure):
        """Runs `act` in a transaction that holds only while the lock is still ours."""
        with self.redis.pipeline() as pipe:
            try:
                pipe.watch(self.name)
                if pipe.get(self.name) != token:
                    raise LockNotOwnedError(failure)
                left = pipe.pttl(self.name)
                pipe.multi()
                act(pipe, left)
                pipe.execute()
            except redis.WatchError:  # it ran out, or went to another, just now
                raise LockNotOwnedError(failure) from None
        return True

    def do_release(self, expected_token):
        self.if_owned(expected_token, lambda pipe, _left: pipe.delete(self.name),
                      "Cannot release a lock that's no longer owned")

    def do_extend(self, additional_time, replace_ttl):
        def act(pipe, left):
            pipe.pexpire(self.name, int(additional_time * 1000) + (0 if replace_ttl else left))

        return self.if_owned(self.local.token, act, "Cannot extend a lock that's no longer owned")

    def do_reacquire(self):
        return self.do_extend(self.timeout, True)
