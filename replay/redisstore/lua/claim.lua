
-- ARGV: the bound of rights; then claims of one right each, of rights that differ: how many, the earliest
-- and the latest issued, the earliest keep, all issued in 8 bytes each, key and record of each right,
-- how many seconds of keep there are, and of each such second the IDs to be listed under it. At
-- last all other claims, one argument each: owner, then of each right id, issued and keep.
-- Answer: what became of the first, in words, or one for all of them; then of the others.
local limit, n, issued, unpack_from = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[11], struct.unpack
local first, lists = 12, 12 + 2 * n
local others = lists + 1 + 2 * tonumber(ARGV[lists])

-- all writes the first with one command; it is false, with nothing written, if any was spent before.
local function all()
  if n == 0 or count.r + n > limit or admit(ARGV[8], ARGV[10]) or admit(ARGV[9], ARGV[10]) then return false end
  local r = redis.pcall('MSETNX', unpack(ARGV, first, lists - 1))
  if r == 0 or r ~= 1 and short(r) then return false end
  if not dirty then seq, dirty = seq + 1, true end
  count.r = count.r + n
  for i = lists + 1, others - 1, 2 do enlist('r', ARGV[i + 1], ARGV[i]) end
  return true
end

-- one decides on a claim of one right.
local function one(owner, id, issued, keep)
  if owner ~= nobody and count.r < limit and not admit(issued, keep) and write(id, owner, keep) then
    return 'won' -- as most
  end
  return claim(owner, { id, issued, keep }, limit)
end

local function each()
  local words, head = {}, #rights + 1
  for i = 1, n do
    local key, record = ARGV[first + 2 * i - 2], ARGV[first + 2 * i - 1]
    words[i] = one(sub(record, 1, 16), sub(key, head), unpack_from('>i8', issued, 8 * i - 7), sub(record, 17))
  end
  return words
end

local function packed(text)
  local owner, at = sub(text, 1, 16), 17
  local list = {}
  while at <= #text do
    local m = #list
    list[m + 1], list[m + 2], list[m + 3], at = unpack_from('>c16i8Bc0', text, at)
  end
  if #list == 3 then return one(owner, unpack(list)) end
  return claim(owner, list, limit)
end

local words = all() and { 'won' } or each()
local rest = {}
for i = others, #ARGV do rest[#rest + 1] = packed(ARGV[i]) end
if not finish() then
  for _, list in ipairs({ words, rest }) do
    for i = 1, #list do
      if list[i] == 'mine' then list[i] = 'replicas' end
    end
  end
end
return { tag, 'ok', seq, now, table.concat(words, ' '), table.concat(rest, ' ') }
