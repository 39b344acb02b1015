#!lua flags=allow-oom,no-writes
-- Answers which entries no consumer will receive again: missing ones, and delivered ones that are not pending.
-- KEYS: the stream   ARGV: group; then each entry
-- Answer: for each 1 (gone), 0
local stream, group = KEYS[1], ARGV[1]

local function parts(entry)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

-- The last delivered entry; without a group none is: a new group begins with the first entry.
local function last_given()
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, fields in ipairs(groups) do
    local named = {}
    for i = 1, #fields, 2 do named[fields[i]] = fields[i + 1] end
    if named['name'] == group then return parts(named['last-delivered-id']) end
  end
  return -1, 0
end

local last_ms, last_seq = last_given()

local function gone(entry)
  if #redis.call('XRANGE', stream, entry, entry) == 0 then return 1 end
  local ms, seq = parts(entry)
  if ms > last_ms or (ms == last_ms and seq > last_seq) then return 0 end
  return #redis.call('XPENDING', stream, group, entry, entry, 1) == 0 and 1 or 0
end

local answers = {}
for i = 2, #ARGV do answers[i - 1] = gone(ARGV[i]) end
return answers
