
local dirty, fresh, rights, nobody = false, {}, prefix .. 'r:', string.rep('\0', 16)

-- short says that there was no memory for a command; any other error ends the script.
local function short(r)
  return string.find(r.err, 'OOM', 1, true) and true or error(r)
end

-- begin comes before the first write. It is false, with nothing written, where the
-- server has no memory left; the server lets through what follows a write.
local function begin()
  if dirty then return true end
  local r = redis.pcall('HINCRBY', meta, 'seq', 1)
  if type(r) ~= 'number' then return not short(r) end
  seq, dirty = r, true
  return true
end

-- number gives nothing, and read an empty text, where a record is damaged: an error would end
-- the script, which serves others too.
local function number(text)
  local n = tonumber(text)
  return n and n > -2^53 and n < 2^53 and n or nil
end

local function read(...)
  local r = redis.pcall(...)
  if type(r) ~= 'table' or not r.err then return r end
  return string.find(r.err, 'WRONGTYPE', 1, true) and '' or error(r)
end

-- enlist notes that a record is due after the second keep.
local function enlist(kind, id, keep)
  local list = fresh[keep]
  if not list then
    list = {}
    fresh[keep] = list
  end
  list[#list + 1] = kind .. id
end

-- finish writes the lists and the counts. WAIT may wait for the last write of its connection
-- alone (Redis 7.2): where replicas are waited for, an answer that wrote nothing writes too, or it
-- would tell of what another connection wrote and no replica has. False: there was no memory for it.
local function finish()
  if not dirty and not @WAITS@ then return true end
  if not begin() then return false end
  for second, ids in pairs(fresh) do
    local key, length = prefix .. 'd:' .. second, 0
    for i = 1, #ids, 1000 do
      length = call('RPUSH', key, unpack(ids, i, math.min(i + 999, #ids)))
    end
    if length == #ids then call('ZADD', prefix .. 'due', second, second) end
  end
  call('HSET', meta, 'seq', seq, 'past_r', past.r, 'past_s', past.s, 'r', count.r, 's', count.s, 'u', count.u)
  return true
end

-- purge forgets up to budget records that are past, the oldest first, and what is listed with the last of
-- them. Its first write needs no memory, so that it makes room where there is none.
local function purge(budget)
  local function forgot(kind, n, second)
    if n == 0 then return end
    count[kind] = math.max(0, count[kind] - n)
    local horizon = kind == 'r' and 'r' or 's'
    past[horizon] = math.max(past[horizon], second)
  end

  -- Both forget what is kept no longer than second, and list the rest anew. What is not there was
  -- listed twice, or is damaged.
  local function forget(kind, id, second)
    local key = prefix .. kind .. ':' .. id
    local keep = number(read('HGET', key, 'keep'))
    if not keep then return end
    if keep > second then return enlist(kind, id, string.format('%.0f', keep)) end
    call('UNLINK', key)
    forgot(kind, 1, second)
  end

  local function forget_rights(ids, second)
    local keys, gone = {}, {}
    for at = 1, #ids, 16 do
      local id = sub(ids, at, at + 15)
      keys[#keys + 1] = rights .. id
      keys[#keys + 1] = prefix .. 'x:' .. id
    end
    local got = #keys > 0 and call('MGET', unpack(keys)) or {}
    for i = 1, #keys, 2 do
      local keep = got[i] and number(sub(got[i], 17))
      local more = keep and got[i + 1] and number(got[i + 1])
      if more and more > keep then keep = more end
      if keep and keep > second then
        enlist('r', sub(keys[i], #rights + 1), string.format('%.0f', keep))
      elseif keep then
        gone[#gone + 1] = keys[i]
        gone[#gone + 1] = keys[i + 1]
      end
    end
    if #gone > 0 then call('UNLINK', unpack(gone)) end
    forgot('r', #gone / 2, second)
  end

  while budget > 0 do
    local second = call('ZRANGE', prefix .. 'due', 0, 0)[1]
    local due = number(second)
    if not second or due and due >= now then return end
    local entry = due and call('LPOP', prefix .. 'd:' .. second)
    if entry then
      begin()
      local kind, ids = sub(entry, 1, 1), sub(entry, 2)
      budget = budget - math.max(1, math.floor(#ids / 16))
      if kind ~= 'r' then forget(kind, ids, due) end
      for at = 1, kind == 'r' and #ids or 0, 4096 do forget_rights(sub(ids, at, at + 4095), due) end
    else
      call('ZREM', prefix .. 'due', second)
      budget = budget - 1
    end
  end
end

local purge_budget = tonumber(ARGV[5])
purge(purge_budget)

-- room says whether more records of a kind fit, if need be after purging.
local function room(kind, more, limit)
  if more == 0 or count[kind] + more <= limit then return true end
  if purge_budget > 0 then purge(10000) end
  return count[kind] + more <= limit
end

local function reach(keep, kind)
  keep = tonumber(keep)
  return keep >= now and keep > past[kind]
end

-- admit names what is wrong with a right.
local function admit(issued, keep)
  issued = tonumber(issued)
  if issued < epoch then return 'before' end
  if issued > latest then return 'ahead' end
  if not reach(keep, 'r') then return 'beyond' end
end

-- outcome is 2 for won, 1 for mine, 0 for lost; and whether keep is later than noted. What is
-- damaged is lost.
local function outcome(id, owner, keep)
  local right = read('GET', rights .. id)
  if not right then return 2, false end
  local noted = number(sub(right, 17))
  if not noted or sub(right, 1, 16) ~= owner then return 0, false end
  if not keep or tonumber(keep) <= noted then return 1, false end
  local longer = number(read('GET', prefix .. 'x:' .. id))
  return 1, not longer or tonumber(keep) > longer
end

-- write notes a right that nobody holds. SETNX never takes one from its owner; it
-- changes nothing where there is one, or no memory.
local function write(id, owner, keep)
  local r = redis.pcall('SETNX', rights .. id, owner .. keep)
  if r == 0 or r ~= 1 and short(r) then return false end
  if not dirty then seq, dirty = seq + 1, true end
  count.r = count.r + 1
  enlist('r', id, keep)
  return true
end

-- spend writes a right, or that it is kept longer, after begin.
local function spend(id, owner, keep)
  if write(id, owner, keep) then return end
  local _, longer = outcome(id, owner, keep)
  if longer then call('SET', prefix .. 'x:' .. id, keep) end
end

-- claim decides on rights: id, issued and keep of each, one after the other.
local function claim(owner, list, limit)
  local new, any_longer, listed = 0, false, {}
  if owner == nobody then return 'owner' end
  for i = 1, #list, 3 do
    local id, keep = list[i], list[i + 2]
    local refusal = admit(list[i + 1], keep)
    if refusal then return refusal end
    local got, longer = outcome(id, owner, keep)
    if got == 0 then return 'lost' end
    if got == 2 and not listed[id] then new = new + 1 end
    listed[id] = true
    any_longer = any_longer or longer
  end
  if not room('r', new, limit) then return 'full' end
  if new == 0 and not any_longer then return 'mine' end
  if not begin() then return 'full' end
  for i = 1, #list, 3 do spend(list[i], owner, list[i + 2]) end
  return new > 0 and 'won' or 'mine'
end
