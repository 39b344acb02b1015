#!lua flags=allow-oom
-- The shard's part of a heartbeat: makes a new epoch where this shard may have lost writes, adopts any other,
-- raises the mark.
-- KEYS: epoch
-- ARGV: an ID for a new epoch, the epoch the caller knows (empty: none), its mark (ms, 0: none), two heartbeats (ms)
-- Answer: now (ms), id, mark, past
local key = KEYS[1]
local KEPT = 50
local r = call('HMGET', key, 'id', 'born', 'mark', 'run_id', 'past')
local id, born, mark, past = r[1], r[2] or now_text, tonumber(r[3]) or 0, r[5] or ''
local run_id = string.match(call('INFO', 'server'), 'run_id:(%w+)') or ''
local known_id, known_mark, margin = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

if not id or r[4] ~= run_id or (id == known_id and mark < known_mark) then
  -- from: up to there this shard's data is as it was; where nothing stood, what the caller remembers.
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
