#!lua
-- Writes new records; answers for each known one what its record says.
-- KEYS: the four indexes, counts, epoch; the stream, if the queue has one; then each task key; then each message key
-- ARGV: publish grace (ms), the queue has a stream 1|0; then for each: task, queue, digest, delay (ms, 0: none), body
-- Answer: now (ms), the queue has a stream 1|0; then for each 1 (new, queued), 2 (new, scheduled), or
--         {same digest 1|0, submitted_at, status, published 1|0}, or the text of what is wrong with the record
-- Without allow-oom: a full Redis must refuse new work and nothing else.
local epoch, streams = KEYS[6], tonumber(ARGV[2])
local heads = 6 + streams
local stream = streams == 1 and KEYS[heads]
local n = (#KEYS - heads) / 2
local grace = text(now + ARGV[1])
local known = call('EXISTS', unpack(KEYS, heads + 1, heads + n)) > 0
local bodies, filled = {}, 0
local seen = {}

local function known_record(key, digest)
  local status, recorded, submitted_at, position = unpack(call('HMGET', key, 'st', 'ha', 'sa', 'po'))
  if not status then return nil end
  local published = stream or position and position ~= ''
  return {recorded == digest and 1 or 0, tonumber(submitted_at) or 0, status, published and 1 or 0}
end

-- With a stream, the message is in it from the record's first moment: there is nothing to look at later.
local function queue_new(key, a)
  if stream then
    call('XADD', stream, '*', 'm', '{"submitted_at":' .. now_text .. ',' .. sub(ARGV[a + 4], 2))
  else
    put(OPEN, sub(key, -36), grace)
  end
  write_new(key, a, 'queued', now_text)
  return 1
end

local function one(i)
  local key, a = KEYS[heads + i], 5 * i - 2
  local delay = tonumber(ARGV[a + 3])
  if known or seen[key] then
    local found = known_record(key, ARGV[a + 2])
    if found then return found end
  end
  seen[key] = true
  bodies[filled + 1], bodies[filled + 2] = KEYS[heads + n + i], ARGV[a + 4]
  filled = filled + 2
  if delay <= 0 then return queue_new(key, a) end
  local due = text(now + delay)
  put(SCHEDULED, sub(key, -36), due)
  write_new(key, a, 'scheduled', now_text, 'dl', due)
  return 2
end

call('HSETNX', epoch, 'born', now_text)
local answers = each(n, one, {now, streams})
settle()
if filled > 0 then call('MSET', unpack(bodies)) end
return answers
