#!lua
-- Writes new records; answers what stands of known ones.
-- KEYS: open, counts, epoch; then each task key; then each message key
-- ARGV: publish grace (ms); then for each: task, queue, digest, delay (ms, 0: none), body
-- Answer: now (ms); then for each 1 (new, queued), 2 (new, scheduled), or
--         {same digest 1|0, submitted_at, status, published 1|0}, or the text of what is wrong with the record
-- Without allow-oom: a full Redis must refuse new work and nothing else.
local open, counts, epoch = KEYS[1], KEYS[2], KEYS[3]
local n = (#KEYS - 3) / 2
local grace = text(now + ARGV[1])
local known = call('EXISTS', unpack(KEYS, 4, 3 + n)) > 0
local bodies, filled = {}, 0
local seen = {}

local function what_stands(key, digest)
  local r = call('HMGET', key, 'st', 'ha', 'sa', 'po')
  if not r[1] then return nil end
  return {r[2] == digest and 1 or 0, tonumber(r[3]) or 0, r[1], r[4] and r[4] ~= '' and 1 or 0}
end

local function one(i)
  local key, a = KEYS[3 + i], 5 * i - 3
  local queue, delay = ARGV[a + 1], tonumber(ARGV[a + 3])
  if known or seen[key] then
    local standing = what_stands(key, ARGV[a + 2])
    if standing then return standing end
  end
  seen[key] = true
  local status = delay > 0 and 'scheduled' or 'queued'
  bodies[filled + 1], bodies[filled + 2] = KEYS[3 + n + i], ARGV[a + 4]
  filled = filled + 2
  local when = delay > 0 and text(now + delay) or grace
  look_at(sub(key, -36), when)
  call('HSET', key, 'st', status, 'tk', ARGV[a], 'ha', ARGV[a + 2], 'sa', now_text)
  if queue ~= 'default' then call('HSET', key, 'qu', queue) end
  if delay > 0 then call('HSET', key, 'dl', when) end
  count(queue, status, 1)
  return delay > 0 and 2 or 1
end

local answers = {now}
call('HSETNX', epoch, 'born', now_text)
for i = 1, n do
  local fine, answer = pcall(one, i)
  answers[i + 1] = fine and answer or why(answer)
end
settle(open, counts)
if filled > 0 then call('MSET', unpack(bodies)) end
return answers
