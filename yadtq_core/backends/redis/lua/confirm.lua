#!lua flags=allow-oom
-- Stores the positions of acknowledged messages: a record that no worker has claimed then waits in the log.
-- KEYS: the four indexes, counts; then each task key
-- ARGV: queue; then for each: position, its score in `waiting` (empty: it cannot wait by this position)
-- Answer: for each 1, or the text of what is wrong with the record
local asked = ARGV[1]

-- A claimed, released or offered record does not wait in the log, and a position in another queue says nothing.
local function one(i)
  local key, position, score = KEYS[5 + i], ARGV[2 * i], ARGV[2 * i + 1]
  local status, queue, fence, released, before = unpack(call('HMGET', key, 'st', 'qu', 'fe', 'rl', 'po'))
  if (queue or 'default') ~= asked then return 1 end
  if status == 'queued' and not fence and not released then
    if score ~= '' then
      local id = sub(key, -36)
      drop(OPEN, id)
      put(WAITING, id, score)
    end
    if before ~= position then call('HSET', key, 'po', position) end
  elseif status == 'processing' and not before then
    call('HSET', key, 'po', position)
  end
  return 1
end

local answers = each(#KEYS - 5, one, {})
settle()
return answers
