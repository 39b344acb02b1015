#!lua flags=allow-oom
-- The shard's part of a heartbeat: begins a new epoch if this shard may have lost writes, else adopts the present one;
-- raises the mark.
-- KEYS: epoch
-- ARGV: an ID for a new epoch, the epoch the caller knows (empty: none), its mark (ms, 0: none), two heartbeats (ms)
-- Answer: now (ms), id, mark, past
local key = KEYS[1]
local KEPT = 50
local id, first, high, server, past = unpack(call('HMGET', key, 'id', 'born', 'mark', 'run_id', 'past'))
local born, mark = first or now_text, tonumber(high) or 0
past = past or ''
local run_id = string.match(call('INFO', 'server'), 'run_id:(%w+)') or ''
local known_id, known_mark, margin = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

if not id or server ~= run_id or (id == known_id and mark < known_mark) then
  -- from: this shard's data is complete up to this time; if the shard was empty, the mark that the caller remembers.
  local from = id and mark or known_mark
  local begins = id and math.max(from - margin, 0) or 0
  local ends = id and now_text or born
  id = ARGV[1]
  past = past .. format('%s:%.0f:%.0f:%s;', id, from, begins, ends)
  local _, lines = string.gsub(past, ';', '')
  if lines > KEPT then past = sub(past, string.find(past, ';', 1, true) + 1) end
end
mark = math.max(mark, now)
call('HSET', key, 'id', id, 'born', born, 'mark', text(mark), 'run_id', run_id, 'past', past)
return {now, id, mark, past}
