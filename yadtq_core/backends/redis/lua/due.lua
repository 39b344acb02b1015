#!lua flags=allow-oom,no-writes
-- Reads the IDs that are due, for `sweep`, and counts what is ready.
-- KEYS: open, scheduled; then the index `ready` of each queue   ARGV: how many IDs at most
-- Answer: now (ms), {ID, …}, {how many are ready in each queue}
-- What must be looked at comes before due delays: a flood of these does not hide an ended lease.
local limit = tonumber(ARGV[1])
local ids = call('ZRANGE', OPEN, '-inf', now_text, 'BYSCORE', 'LIMIT', 0, limit)
if #ids < limit then
  local found = #ids
  for i, id in ipairs(call('ZRANGE', SCHEDULED, '-inf', now_text, 'BYSCORE', 'LIMIT', 0, limit - found)) do
    ids[found + i] = id
  end
end
local ready = {}
for i = 3, #KEYS do ready[i - 2] = call('ZCARD', KEYS[i]) end
return {now, ids, ready}
