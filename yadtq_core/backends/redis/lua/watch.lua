#!lua flags=allow-oom
-- Stores who is to be told when these records end. KEYS: each task key   ARGV: channel
-- Answer: for each 1 (has ended, or is not there), 0, or the text of what is wrong with the record
local channel = ARGV[1]
local OPEN = {queued = true, processing = true, scheduled = true}
local MOST = 4

local function one(i)
  local r = call('HMGET', KEYS[i], 'st', 'wt')
  if not OPEN[r[1]] then return 1 end
  local waiters, kept = {channel}, 1
  for other in string.gmatch(r[2] or '', '%S+') do
    if other ~= channel and kept < MOST then
      kept = kept + 1
      waiters[kept] = other
    end
  end
  call('HSET', KEYS[i], 'wt', table.concat(waiters, ' '))
  return 0
end

local answers = {}
for i = 1, #KEYS do
  local fine, answer = pcall(one, i)
  answers[i] = fine and answer or why(answer)
end
return answers
