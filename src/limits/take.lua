-- Takes one from each bucket of KEYS, or from none. ARGV: for each the nanoseconds in which one comes back, and those in which all do.
-- A bucket is the time at which all is back, as seconds:nanoseconds: whole, a double could not hold it.
-- Gives 0, or the number of the bucket that refuses and the nanoseconds until there is one.
local now = redis.call('TIME')
local second, nanos = tonumber(now[1]), tonumber(now[2]) * 1000

local function keep(key, backlog)
  local at = nanos + backlog
  local rest = at % 1000000000
  local text = string.format('%.0f:%.0f', second + (at - rest) / 1000000000, rest)
  redis.call('SET', key, text, 'PX', string.format('%.0f', math.ceil(backlog / 1000000)))
end

local after = {}
for index, key in ipairs(KEYS) do
  local interval, full = tonumber(ARGV[2 * index - 1]), tonumber(ARGV[2 * index])
  local backlog, known = 0, redis.call('GET', key)
  if known then
    local seconds, more = string.match(known, '^(%d+):(%d+)$')
    backlog = math.max((seconds - second) * 1000000000 + (more - nanos), 0)
  end
  if backlog > full then
    -- The clock went back, or the limit is another now.
    backlog = full
    if full > 0 then keep(key, full) end
  end
  if backlog + interval > full then
    return {index, string.format('%.0f', backlog + interval - full)}
  end
  after[index] = backlog + interval
end
for index, key in ipairs(KEYS) do
  keep(key, after[index])
end
return {0, '0'}
