#!lua flags=allow-oom,no-writes
-- Reads the IDs that are due, for `sweep`.
-- KEYS: open   ARGV: how many at most
-- Answer: now (ms); then the IDs, the longest due first
local ids = call('ZRANGE', KEYS[1], '-inf', now_text, 'BYSCORE', 'LIMIT', 0, ARGV[1])
table.insert(ids, 1, now)
return ids
