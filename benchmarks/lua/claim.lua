#!lua
-- Gives a fence to each queued record.
-- KEYS: open; then each record
-- ARGV: worker, lease (ms)
-- Answer: for each its fence, or 0
local n = #KEYS - 1
local clock = redis.call('TIME')
local fence = string.format('%.0f', clock[1] * 1000000 + clock[2])
local deadline = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[2])
local scores, answers = {}, {}
for i = 1, n do
  local key = KEYS[1 + i]
  answers[i] = 0
  if redis.call('HGET', key, 'st') == 'queued' then
    redis.call('HSET', key, 'st', 'processing', 'wk', ARGV[1], 'fe', fence, 'dl', deadline)
    scores[#scores + 1], scores[#scores + 2] = deadline, string.sub(key, -36)
    answers[i] = fence
  end
end
if #scores > 0 then redis.call('ZADD', KEYS[1], unpack(scores)) end
return answers
