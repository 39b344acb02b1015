#!lua
-- Adds messages to the end of a queue's stream, all or none of them.
-- KEYS: the stream   ARGV: each message
-- Answer: the entry of each
-- Without allow-oom: a full Redis must refuse new work.
local entries = {}
for i = 1, #ARGV do entries[i] = redis.call('XADD', KEYS[1], '*', 'm', ARGV[i]) end
return entries
