-- Takes what a call costs out of all buckets of a key, or out of none.
--
-- KEYS[1]  a hash; of each quota the field holds "at used before"
-- ARGV     now in microseconds, or -1 for the server's own time; the cost; how many there are of each quota:
--          field, shadow (0, 1), algorithm (g, f, s), five numbers of the algorithm, or zeros, and none or
--          three that somebody knows of the bucket
-- Answers  now; then of each quota: fits (0, 1), at, used, before
--
-- All numbers are whole and below 2^53, which a double holds exactly. Where a product would be more it is
-- made in parts. A number is written by %.0f, for tostring gives no more than 14 digits.

local floor, fmod, max, min = math.floor, math.fmod, math.max, math.min
local DAY = 86400000000
-- By how much a clock may go back without being thought to be set back.
local SET_BACK = 1000000

local now, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local keeps_real_time = now < 0
if keeps_real_time then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- count * part / whole, rounded up, for part <= whole <= 2^45 and count < 2^50: six bits at a time.
local function share(count, part, whole)
  if count == 0 then return 0 end
  local quotient, rest = 0, 0
  for digit = 8, 0, -1 do
    local unit = 64 ^ digit
    local this = floor(count / unit)
    count = count - this * unit
    local sum = rest * 64 + this * part
    rest = fmod(sum, whole)
    quotient = quotient * 64 + (sum - rest) / whole
  end
  if rest > 0 then quotient = quotient + 1 end
  return quotient
end

-- The first day of a month, from the day: both counted from 1970-01-01.
local function first_of_month(day)
  local of_era = fmod(day + 719468, 146097)
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  return day - (of_year - floor((153 * month + 2) / 5))
end

-- When a window began, and when the next one does. A length of 0 is a month.
local function around(time, length)
  if length > 0 then
    local start = time - fmod(time, length)
    return start, start + length
  end
  local first = first_of_month(floor(time / DAY))
  return first * DAY, first_of_month(first + 31) * DAY
end

-- Each answers with the bucket, if the clock was set back since it was taken from, and how long it must be
-- kept: as if no time had gone by.
local settle = {}

function settle.g(at, used, before)
  if before <= now + SET_BACK then return end
  local ahead = max(at - before, 0)
  return now + ahead, used, now, ahead + 1
end

function settle.f(at, used, before, limit, length)
  if at <= now + SET_BACK then return end
  local start, ends = around(now, length)
  return start, used, before, ends - now
end

function settle.s(at, used, before, limit, length)
  if at <= now + SET_BACK then return end
  local start = around(now, length)
  return start, min(used + before, limit), 0, start + 2 * length - now
end

-- Each answers with the bucket, if less is in it than it seems, and how long it must be kept.
local remind = {}

-- how long it is until it is full
function remind.g(at, used, before, ahead, _, _, _, _, _, depth)
  ahead = min(ahead, depth)
  if ahead <= 0 or now + ahead <= at then return end
  return now + ahead, 0, now, ahead + 1
end

-- a window
function remind.f(at, used, before, known, taken, _, limit, length)
  local start, ends = around(now, length)
  taken = min(taken, limit)
  if known ~= start or at > start or taken <= (at == start and used or 0) then return end
  return start, taken, 0, ends - now
end

-- a window, and the one before
function remind.s(at, used, before, known, taken, weighed, limit, length)
  local start = around(now, length)
  taken, weighed = min(taken, limit), min(weighed, limit)
  if known + length == start then
    taken, weighed = 0, taken
  elseif known ~= start then
    return
  end
  if at > start then return end
  if at + length == start then
    used, before = 0, used
  elseif at ~= start then
    used, before = 0, 0
  end
  if taken <= used and weighed <= before then return end
  return start, max(taken, used), max(weighed, before), start + 2 * length - now
end

-- Each answers with the bucket after the call and how long it must be kept if the call fits, and else
-- with the bucket as it is.
local charge = {}

-- ticks in a microsecond; the price in microseconds (-1: more than there ever is) and ticks; the depth in both
function charge.g(at, used, before, speed, price, rest, depth, depth_rest)
  if price < 0 then return false, at, used, before end
  local whole, ticks = at, used
  if whole < now then whole, ticks = now, 0 end
  if ticks >= speed then ticks = speed - 1 end
  whole, ticks = whole + price, ticks + rest
  if ticks >= speed then whole, ticks = whole + 1, ticks - speed end
  local latest = now + depth
  if whole > latest or (whole == latest and ticks > depth_rest) then
    return false, at, used, before
  end
  return true, whole, ticks, now, whole + 1 - now
end

-- limit, length (0: a month)
function charge.f(at, used, before, limit, length)
  local start, ends = around(max(now, at), length)
  local taken = cost
  if at == start then taken = taken + used end
  if taken > limit then return false, at, used, before end
  return true, start, taken, 0, ends - now
end

-- limit, length
function charge.s(at, used, before, limit, length)
  local time = max(now, at)
  local elapsed = fmod(time, length)
  local start = time - elapsed
  local taken, weighed = 0, 0
  if at == start then
    taken, weighed = used, before
  elseif at + length == start then
    weighed = used
  end
  taken = taken + cost
  if taken + share(weighed, length - elapsed, length) > limit then
    return false, at, used, before
  end
  return true, start, taken, weighed, start + 2 * length - now
end

local WIDTH = tonumber(ARGV[3])
local quotas = (#ARGV - 3) / WIDTH
local fields = {}
for quota = 1, quotas do
  fields[quota] = ARGV[4 + (quota - 1) * WIDTH]
end
local kept = redis.call('HMGET', KEYS[1], unpack(fields))

local allowed, results = true, {}
for quota = 1, quotas do
  local from = 4 + (quota - 1) * WIDTH
  local at, used, before = string.match(kept[quota] or '', '^(%d+) (%d+) (%d+)$')
  at, used, before = tonumber(at or 0), tonumber(used or 0), tonumber(before or 0)
  local algorithm = ARGV[from + 2]
  local one, two, three = tonumber(ARGV[from + 3]), tonumber(ARGV[from + 4]), tonumber(ARGV[from + 5])
  local a, u, b, settled = settle[algorithm](at, used, before, one, two)
  if settled then at, used, before = a, u, b end
  local four, five = tonumber(ARGV[from + 6]), tonumber(ARGV[from + 7])
  if WIDTH == 11 then
    local keep
    a, u, b, keep = remind[algorithm](
      at, used, before, tonumber(ARGV[from + 8]), tonumber(ARGV[from + 9]), tonumber(ARGV[from + 10]),
      one, two, three, four
    )
    if keep then at, used, before, settled = a, u, b, keep end
  end
  local result = { charge[algorithm](at, used, before, one, two, three, four, five) }
  result.state, result.settled = { at, used, before }, settled
  results[quota] = result
  if not result[1] and ARGV[from + 1] == '0' then allowed = false end
end

local answer, changed, longest = { now }, {}, 0
for quota = 1, quotas do
  local result = results[quota]
  local state = result.state
  if allowed and result[1] then
    state = { result[2], result[3], result[4] }
    result.keep = result[5]
  end
  if result.keep or result.settled then
    changed[#changed + 1] = fields[quota]
    changed[#changed + 1] = string.format('%.0f %.0f %.0f', state[1], state[2], state[3])
    longest = max(longest, result.keep or result.settled)
  end
  answer[#answer + 1] = result[1] and 1 or 0
  for number = 1, 3 do answer[#answer + 1] = state[number] end
end

if #changed > 0 then
  redis.call('HSET', KEYS[1], unpack(changed))
  -- Until all buckets are full again, rounded up; those of other quotas may take longer.
  local keep = floor(longest / 1000) + 1
  if not keeps_real_time then keep = max(keep, 600000) end
  if redis.call('PTTL', KEYS[1]) < keep then
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', keep))
  end
end
return answer
