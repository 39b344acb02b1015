#!lua
-- Writes new records; answers for each known one what its record says.
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

local function known_record(key, digest)
  local status, recorded, submitted_at, position = unpack(call('HMGET', key, 'st', 'ha', 'sa', 'po'))
  if not status then return nil end
  return {recorded == digest and 1 or 0, tonumber(submitted_at) or 0, status, position and position ~= '' and 1 or 0}
end

local function one(i)
  local key, a = KEYS[3 + i], 5 * i - 3
  local delay = tonumber(ARGV[a + 3])
  if known or seen[key] then
    local found = known_record(key, ARGV[a + 2])
    if found then return found end
  end
  seen[key] = true
  bodies[filled + 1], bodies[filled + 2] = KEYS[3 + n + i], ARGV[a + 4]
  filled = filled + 2
  local when = delay > 0 and text(now + delay) or grace
  look_at(sub(key, -36), when)
  if delay > 0 then
    write_new(key, a, 'scheduled', now_text, 'dl', when)
    return 2
  end
  write_new(key, a, 'queued', now_text)
  return 1
end

call('HSETNX', epoch, 'born', now_text)
local answers = each(n, one, {now})
settle(open, counts)
if filled > 0 then call('MSET', unpack(bodies)) end
return answers
