"""The scripts of the benchmarks."""

import hashlib

# Releases a lock that this token holds.
RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then
    return redis.call('del', KEYS[1])
else
    return 0
end
"""

# Allows so many requests in a window of time that slides: the time, the length of the window and
# the limit are the arguments.
LIMITER = """
local now, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('zremrangebyscore', KEYS[1], '-inf', now - window)
local count = redis.call('zcard', KEYS[1])
if count < limit then
    redis.call('zadd', KEYS[1], now, now .. ':' .. count)
    redis.call('pexpire', KEYS[1], window * 1000)
    return 1
end
return 0
"""

# Asks for a string a hundred times.
CALLS = """
for _ = 1, 100 do
    redis.call('get', KEYS[1])
end
return 1
"""


def evalsha(script, keys, args):
    """The command that runs a script which the server knows."""
    return ["EVALSHA", hashlib.sha1(script.encode()).hexdigest(), str(len(keys)), *keys, *args]
