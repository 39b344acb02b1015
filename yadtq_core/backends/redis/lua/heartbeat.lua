#!lua flags=allow-oom
-- The worker's part of a heartbeat: writes its row, and removes expired workers from the list.
-- KEYS: the worker's hash, workers
-- ARGV: member (ID:incarnation), the row's life (ms), an absent worker is listed for (ms); then fields and values
-- Answer: the members removed from the list
local key, workers = KEYS[1], KEYS[2]
local AT_ONCE = 100
call('HSET', key, 'last_seen', now_text, unpack(ARGV, 4))
call('PEXPIRE', key, ARGV[2])
call('ZADD', workers, now_text, ARGV[1])
local gone = call('ZRANGE', workers, '-inf', text(now - ARGV[3]), 'BYSCORE', 'LIMIT', 0, AT_ONCE)
if #gone > 0 then call('ZREM', workers, unpack(gone)) end
return gone
