"""What a log does in Redis in one step each: Lua scripts, which run on the server.

A user's runs are a hash. A run has two fields in it, a message and a thread one each; names are
encoded, and hold no space:

::

    s<run>      last_seq status token owner
    r<run>      thread message digest before    (before: the thread's run before this one)
    c<message>  run
    t<thread>   run                             (the thread's newest)
    u<thread>   run run ...                     (those of it that have not ended; none if all have)

The keys of every script are of one shard. Those that do the same for several runs get keys and
arguments for each behind those for all, and answer for each, in a list or in one line. What may
be refused for lack of memory comes first in each: a server looks at that before the first thing
written alone.
"""

import hashlib
from typing import Final, final

__all__ = [
    "APPEND",
    "CLAIM",
    "END",
    "EXPIRED",
    "FIND",
    "FORGET",
    "LAST",
    "LOOK",
    "READ",
    "RENEW",
    "RUNS",
    "TAKE",
    "TELL",
    "THREAD",
    "UNENDED",
    "Script",
]


@final
class Script:
    """One script.

    Attributes:
        name: what it does, for messages.
        text: its source.
        digest: what the server knows it by.
    """

    __slots__ = ("digest", "name", "text")

    def __init__(self, name: str, *parts: str) -> None:
        self.name: Final = name
        self.text: Final = "\n".join(part.strip() for part in parts)
        self.digest: Final = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


#: The one place where time comes from. A test may have moved it on: that is the first argument of
#: all scripts that need it, and else 0.
_NOW: Final = """
local function now(ahead)
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000) + ahead
end
"""

_STATE: Final = """
local over = {completed = true, failed = true, cancelled = true}
local function state_of(runs, run)
  local state = redis.call('HGET', runs, 's' .. run)
  if not state then return nil end
  local last, status, token, owner = string.match(state, '^(%d+) (%a+) (%S*) (%S*)$')
  return tonumber(last), status, token, owner
end
local function keep_state(runs, run, last, status, token, owner)
  redis.call('HSET', runs, 's' .. run, last .. ' ' .. status .. ' ' .. token .. ' ' .. owner)
end
"""

#: An entry names the one before, so that a reader knows when it has missed one. Stream and last
#: id expire together, after ``hold``; that there was an end is news to a reader like any.
_ANNOUNCE: Final = """
local function announce(stream, last, room, hold, news)
  for at = 1, #news, 1000 do
    local before = redis.call('GET', last)
    local id = redis.call('XADD', stream, 'MAXLEN', '~', room, '*', 'after', before or '0-0',
      unpack(news, at, math.min(at + 999, #news)))
    if before then
      redis.call('SET', last, id, 'KEEPTTL')
    else
      redis.call('SET', last, id, 'PX', hold)
      redis.call('PEXPIRE', stream, hold)
    end
  end
end
"""

_LOOK: Final = """
local function first_of(events, last)
  local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
  return first and string.match(first[1], '^%d+') or last + 1
end
local function look(runs, events, run)
  local last, status, token, owner = state_of(runs, run)
  if not last then return false end
  local known = redis.call('HGET', runs, 'r' .. run)
  local thread, message, digest = string.match(known, '^(%S*) (%S*) (%S*) ')
  return {first_of(events, last), last, status, thread, message, digest, owner}
end
"""

# KEYS: leases, runs, ends, events. ARGV: time, lease, hold, member, run, token, owner, thread,
# message, digest.
CLAIM: Final = Script(
    "claim",
    _NOW,
    """
local leases, runs, ends, events = unpack(KEYS)
local _, lease, hold, member, run, token, owner, thread, message, digest = unpack(ARGV)
local claimed = redis.call('HGET', runs, 'c' .. message)
if claimed then return claimed end
if redis.call('HEXISTS', runs, 's' .. run) == 1 then return 0 end
local time = now(ARGV[1])
local before = redis.call('HGET', runs, 't' .. thread) or ''
redis.call('HSET', runs, 'c' .. message, run, 't' .. thread, run,
  's' .. run, '0 queued ' .. token .. ' ' .. owner,
  'r' .. run, thread .. ' ' .. message .. ' ' .. digest .. ' ' .. before,
  'u' .. thread, (redis.call('HGET', runs, 'u' .. thread) or '') .. run .. ' ')
redis.call('DEL', events)
redis.call('ZADD', leases, time + lease, member)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', time - hold, 'LIMIT', 0, 8)) do
  local known = redis.call('HGET', runs, 'r' .. old) or '   '
  local its, of, earlier = string.match(known, '^(%S*) (%S*) %S* (%S*)$')
  if redis.call('HEXISTS', runs, 's' .. earlier) == 1 then
    -- A thread loses its oldest run first, since the newer ones lead to it.
    redis.call('ZADD', ends, time, old)
  else
    redis.call('HDEL', runs, 's' .. old, 'r' .. old, 'c' .. of)
    if redis.call('HGET', runs, 't' .. its) == old then redis.call('HDEL', runs, 't' .. its) end
    redis.call('ZREM', ends, old)
  end
end
for _, key in ipairs({leases, runs, ends}) do redis.call('PEXPIRE', key, hold) end
return 1
""",
)

#: As few words as will do, both ways: most of what an append takes is a client's handling them.
_APPEND: Final = """
local ahead, bound, keep, hold, room = string.match(ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
local function ends_with(events, first, count, at)
  local held = redis.call('XRANGE', events, first .. '-0', (first + count - 1) .. '-0')
  for back = 0, #held - 1 do
    local fields, word = held[#held - back][2], at + 2 * (count - 1 - back)
    if fields[2] ~= ARGV[word] or fields[4] ~= ARGV[word + 1] then return false end
  end
  return #held > 0
end
local function note_end(runs, run)
  local unended = 'u' .. string.match(redis.call('HGET', runs, 'r' .. run) or '', '^%S*')
  local left = ''
  for other in string.gmatch(redis.call('HGET', runs, unended) or '', '%S+') do
    if other ~= run then left = left .. other .. ' ' end
  end
  if left == '' then redis.call('HDEL', runs, unended)
  else redis.call('HSET', runs, unended, left) end
end
local answers, news, at = {}, {}, 2
for key = first_key, #KEYS, keys_each do
  local runs, events = KEYS[key], KEYS[key + 1]
  local member, run, token, first, count, status =
    string.match(ARGV[at], '^(%S*:(%S*)) (%S*) (%d+) (%d+) (%a+)$')
  first, count, at = tonumber(first), tonumber(count), at + 1
  local last, was, holder, owner = state_of(runs, run)
  local next_seq = first + count
  local answer = 'done'
  if holder ~= token then
    answer = 'lease'
  elseif over[was] or first ~= last + 1 then
    if next_seq ~= last + 1 or not ends_with(events, first, count, at) then
      answer = over[was] and 'ended' or last
    end
  else
    for number = 0, count - 1 do
      local word = at + 2 * number
      redis.call('XADD', events, 'MAXLEN', bound, (first + number) .. '-0',
        'event', ARGV[word], 'payload', ARGV[word + 1])
    end
    last = next_seq - 1
    keep_state(runs, run, last, status, token, owner)
    if over[status] then
      local leases, ends = KEYS[3], KEYS[key + 2]
      redis.call('ZREM', leases, member)
      note_end(runs, run)
      redis.call('ZADD', ends, now(ahead), run)
      redis.call('PEXPIRE', events, keep)
      for _, each in ipairs({leases, runs, ends}) do redis.call('PEXPIRE', each, hold) end
    elseif first == 1 or math.floor(first / 64) ~= math.floor(next_seq / 64) then
      -- A run that is alive stays so, though nobody renews its lease.
      for _, each in ipairs({runs, events}) do redis.call('PEXPIRE', each, hold) end
    end
    news[#news + 1] = member
    news[#news + 1] = last
  end
  answers[#answers + 1] = answer
  at = at + 2 * count
end
announce(KEYS[1], KEYS[2], room, hold, news)
return table.concat(answers, ' ')
"""

# KEYS: wakes, last wake; for each run: runs, events. ARGV: time, events held, keep, hold and wakes
# held in one word; for each run: member, token, first seq, count and status in one word, and for
# each event: type and timestamp in one word, payload.
APPEND: Final = Script(
    "append", _NOW, _STATE, _ANNOUNCE, "local first_key, keys_each = 3, 2", _APPEND
)

# The same for runs that end. KEYS: also leases, third of all, and ends, third of each run.
END: Final = Script(
    "append the end of a run",
    _NOW,
    _STATE,
    _ANNOUNCE,
    "local first_key, keys_each = 4, 3",
    _APPEND,
)

# KEYS: runs, events. ARGV: run, seq to begin with, limit.
READ: Final = Script(
    "read",
    _STATE,
    _LOOK,
    """
local last, status = state_of(KEYS[1], ARGV[1])
if not last then return false end
local events = redis.call('XRANGE', KEYS[2], ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
return {first_of(KEYS[2], last), last, status, events}
""",
)

# KEYS: runs; for each run: events. ARGV: for each run: run.
LOOK: Final = Script(
    "look at runs",
    _STATE,
    _LOOK,
    """
local answers = {}
for at, run in ipairs(ARGV) do answers[at] = look(KEYS[1], KEYS[at + 1], run) end
return answers
""",
)

# KEYS: runs. ARGV: message.
FIND: Final = Script("find a claim", "return redis.call('HGET', KEYS[1], 'c' .. ARGV[1])")

# KEYS: runs. ARGV: thread, limit.
THREAD: Final = Script(
    "list a thread's runs",
    """
local found, run = {}, redis.call('HGET', KEYS[1], 't' .. ARGV[1])
while run and #found < tonumber(ARGV[2]) do
  local known = redis.call('HGET', KEYS[1], 'r' .. run)
  if not known then break end
  found[#found + 1] = run
  run = string.match(known, '%S*$')
end
return found
""",
)

# KEYS: runs. ARGV: thread.
UNENDED: Final = Script(
    "list a thread's unended runs", "return redis.call('HGET', KEYS[1], 'u' .. ARGV[1]) or ''"
)

# KEYS: runs. ARGV: none.
RUNS: Final = Script(
    "list a user's runs",
    """
local found = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 1) == 's' then found[#found + 1] = string.sub(field, 2) end
end
return found
""",
)

# KEYS: leases. ARGV: time, limit.
EXPIRED: Final = Script(
    "find expired leases",
    _NOW,
    "return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(ARGV[1]), 'LIMIT', 0, ARGV[2])",
)

# KEYS: leases; for each run: runs, ends, events. ARGV: time, lease, hold, owner; for each run:
# member, run, new token.
TAKE: Final = Script(
    "take expired runs",
    _NOW,
    _STATE,
    _LOOK,
    """
local leases, time, answers = KEYS[1], now(ARGV[1]), {}
local _, lease, hold, owner = unpack(ARGV, 1, 4)
for key = 2, #KEYS, 3 do
  local runs, ends, events = unpack(KEYS, key, key + 2)
  local member, run, token = unpack(ARGV, key + 3, key + 5)
  local last, status, holder = state_of(runs, run)
  local answer = false
  if not last or over[status] then
    redis.call('ZREM', leases, member)
  elseif holder == token then
    -- A client that got no answer has asked again.
    answer = look(runs, events, run)
  elseif tonumber(redis.call('ZSCORE', leases, member) or time + 1) <= time then
    keep_state(runs, run, last, status, token, owner)
    redis.call('ZADD', leases, time + lease, member)
    for _, each in ipairs({leases, runs, ends, events}) do redis.call('PEXPIRE', each, hold) end
    answer = look(runs, events, run)
  end
  answers[#answers + 1] = answer
end
return answers
""",
)

# KEYS: leases; for each run: runs, ends, events. ARGV: time, lease, hold; for each run: member,
# run, token.
RENEW: Final = Script(
    "renew leases",
    _NOW,
    _STATE,
    """
local leases, time, answers = KEYS[1], now(ARGV[1]), {}
local _, lease, hold = unpack(ARGV, 1, 3)
for key = 2, #KEYS, 3 do
  local runs, ends, events = unpack(KEYS, key, key + 2)
  local member, run, token = unpack(ARGV, key + 2, key + 4)
  local last, status, holder = state_of(runs, run)
  local is_held = last and holder == token and not over[status]
  if is_held then
    redis.call('ZADD', leases, time + lease, member)
    for _, each in ipairs({leases, runs, ends, events}) do redis.call('PEXPIRE', each, hold) end
  end
  answers[#answers + 1] = is_held and 1 or 0
end
return answers
""",
)

# KEYS: wakes, last wake, leases, runs, ends; for each run: events. ARGV: hold, wakes held; for
# each run: member, run.
FORGET: Final = Script(
    "forget a user",
    _ANNOUNCE,
    """
local wakes, last, leases, runs, ends = unpack(KEYS, 1, 5)
local known, news = 0, {}
for _, field in ipairs(redis.call('HKEYS', runs)) do
  if string.sub(field, 1, 1) == 's' then known = known + 1 end
end
if known ~= #KEYS - 5 then return 0 end
for at = 3, #ARGV, 2 do
  if redis.call('HEXISTS', runs, 's' .. ARGV[at + 1]) == 0 then return 0 end
end
redis.call('UNLINK', runs, ends)
for key = 6, #KEYS do redis.call('UNLINK', KEYS[key]) end
for at = 3, #ARGV, 2 do
  redis.call('ZREM', leases, ARGV[at])
  news[at - 2], news[at - 1] = ARGV[at], 0
end
announce(wakes, last, ARGV[2], ARGV[1], news)
return 1
""",
)

# KEYS: an owner's notices, the last of them. ARGV: hold, notices held, and what there is to tell.
TELL: Final = Script(
    "tell an owner",
    _ANNOUNCE,
    "announce(KEYS[1], KEYS[2], ARGV[2], ARGV[1], {unpack(ARGV, 3)})",
)

# KEYS: a stream. ARGV: none.
LAST: Final = Script(
    "find a stream's end",
    """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return newest and newest[1] or '0-0'
""",
)
