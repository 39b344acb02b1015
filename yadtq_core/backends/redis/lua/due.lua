#!lua flags=allow-oom,no-writes
-- Reads what is due, for `sweep`.
-- KEYS: open   ARGV: at most so many
-- Answer: now (ms); then the IDs, the longest due first
local ids = call('ZRANGE', KEYS[1], '-inf', now_text, 'BYSCORE', 'LIMIT', 0, ARGV[1])
table.insert(ids, 1, now)
return ids
