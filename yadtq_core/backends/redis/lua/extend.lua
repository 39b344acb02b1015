#!lua flags=allow-oom
-- Extends leases by their full length from now, stores progress.
-- KEYS: open, counts; then each task key
-- ARGV: lease (ms); then for each: fence, progress (empty: no news)
-- Answer: for each 1 OK, 2 CANCEL, 3 LOST, or the text of what is wrong with the record
local open, counts = KEYS[1], KEYS[2]
local deadline = text(now + ARGV[1])

local function one(i)
  local key, progress = KEYS[2 + i], ARGV[2 * i + 1]
  local r = call('HMGET', key, 'st', 'fe', 'ca', 'qu')
  -- A sweep has put it back to queued and nobody has claimed it since: it is ours still.
  local swept = r[1] == 'queued'
  if r[2] ~= ARGV[2 * i] or not (swept or r[1] == 'processing') then return 3 end
  look_at(sub(key, -36), deadline)
  if swept then
    call('HSET', key, 'st', 'processing', 'dl', deadline)
    count(r[4], 'queued', -1)
    count(r[4], 'processing', 1)
  else
    call('HSET', key, 'dl', deadline)
  end
  if progress ~= '' then call('HSET', key, 'pg', progress) end
  return r[3] and 2 or 1
end

local answers = {}
for i = 1, #KEYS - 2 do
  local fine, answer = pcall(one, i)
  answers[i] = fine and answer or why(answer)
end
settle(open, counts)
return answers
