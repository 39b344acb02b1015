#!lua flags=allow-oom
-- Extends leases by their full length from now, stores progress.
-- KEYS: the four indexes, counts; then each task key
-- ARGV: lease (ms); then for each: fence, progress (empty: unchanged)
-- Answer: for each 1 OK, 2 CANCEL, 3 LOST, or the text of what is wrong with the record
local deadline = text(now + ARGV[1])

local function one(i)
  local key, progress = KEYS[5 + i], ARGV[2 * i + 1]
  local status, queue, fence, cancel = unpack(call('HMGET', key, 'st', 'qu', 'fe', 'ca'))
  local swept = status == 'queued'
  if fence ~= ARGV[2 * i] or not (swept or status == 'processing') then return 3 end
  local id = sub(key, -36)
  put(OPEN, id, deadline)
  if swept then
    alive(key, id, fence)
    call('HSET', key, 'st', 'processing', 'dl', deadline)
    count(queue, 'queued', -1)
    count(queue, 'processing', 1)
  else
    call('HSET', key, 'dl', deadline)
  end
  if progress ~= '' then call('HSET', key, 'pg', progress) end
  return cancel and 2 or 1
end

local answers = each(#KEYS - 5, one, {})
settle()
return answers
