-- What is done with a store as a whole, by whoever checks the server.
--
-- ARGV: tag, the era known and its epoch, the highest seq seen in it, info, make, join, tend, look,
-- raise or unsynced, then its arguments. Tend is join by who must not begin an era.
-- Answer: tag, "ok" or a refusal, seq, now, era, epoch; to info, what INFO says.
local meta, call, max = KEYS[1], redis.call, math.max
local tag, mode = ARGV[1], ARGV[4]
local now = tonumber(call('TIME')[1])
if mode == 'info' then return { tag, 'ok', 0, now, call('INFO') } end

local run, replid, evicted, new_era, granted = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
if string.match(call('INFO', 'server'), 'run_id:(%x+)') ~= run then return { tag, 'era' } end
if string.match(call('INFO', 'replication'), 'master_replid:(%x+)') ~= replid then return { tag, 'era' } end
if type(redis.pcall('EXISTS', meta, string.sub(meta, 1, -5) .. 'none')) ~= 'number' then return { tag, 'moving' } end -- as in head.lua
local m = call('HMGET', meta, 'version', 'era', 'epoch', 'seq', 'run', 'evicted', 'replid', 'began', 'unsynced')
local version, era, epoch, seq = m[1], m[2], tonumber(m[3] or 0), tonumber(m[4] or 0)
if mode == 'unsynced' then
  if era then call('HSET', meta, 'unsynced', 1) end
  return { tag, 'ok', 0, now }
end

-- raise begins a new era under the present run of the server, with an epoch after all
-- that was granted before, which is dated up to that many seconds ahead.
local function raise()
  epoch = max(epoch, now + @AHEAD@, granted) + 1 -- what was granted may be dated so
  seq = call('HINCRBY', meta, 'seq', 1)
  call('HSET', meta, 'era', new_era, 'epoch', epoch, 'run', run, 'replid', replid, 'evicted', evicted, 'unsynced', '', 'began', replid .. ':' .. seq .. ' ')
  return { tag, 'ok', seq, now, new_era, epoch }
end

if not era then
  if mode ~= 'make' and mode ~= 'raise' then return { tag, 'gone' } end
  call('HSET', meta, 'version', 1, 'seq', 0, 'past_r', -2^53, 'past_s', -2^53, 'r', 0, 's', 0, 'u', 0)
  return raise()
end
if version ~= '1' then return { tag, 'version' } end
if mode == 'raise' then return raise() end

-- began is the history of the era: the replication ID of each server, or run of one, that took it
-- over, and the seq that it found, the last 32 of them.
local began = m[8] or ''
if m[7] ~= replid then
  began = began .. replid .. ':' .. string.format('%.0f', seq) .. ' '
  local _, entries = string.gsub(began, ' ', ' ')
  if entries > 32 then began = string.gsub(began, '^%S+ ', '', 1) end
end

-- lost says whether a server since the one that the caller knows found less than he has seen there.
-- By now it may have as much again.
local function lost(known, seen)
  local after = false
  for id, found in string.gmatch(began, '(%x+):(%d+)') do
    if after and tonumber(found) < seen then return true end
    after = after or id == known
  end
  return not after
end

if mode ~= 'look' then
  -- A server that was started or promoted since, or evicted, may have lost what it
  -- acknowledged. Fewer evicted than noted: the statistics were reset, and what was evicted since
  -- may be in neither number. For an era without a name see head.lua.
  local again = m[5] == run
  if era == '' or evicted ~= (again and tonumber(m[6]) or 0) or again and m[7] ~= replid or not again and ARGV[10] ~= '1' then
    if mode == 'tend' then return { tag, 'again' } end
    return raise()
  end
  -- What was written while nothing was kept on disk is there for good once all of it was written anew.
  if m[9] == '1' and ARGV[10] == '1' then
    local said = call('INFO', 'persistence')
    local whole = string.find(said, 'aof_enabled:1', 1, true) and string.find(said, 'aof_rewrite_in_progress:0', 1, true)
      and string.find(said, 'aof_rewrite_scheduled:0', 1, true) and string.find(said, 'aof_last_bgrewrite_status:ok', 1, true)
    if not whole then return { tag, 'unsynced' } end
    if mode == 'tend' then return { tag, 'again' } end
    return raise()
  end
end
if era .. ' ' .. m[3] == ARGV[2] and lost(ARGV[11], tonumber(ARGV[3])) then return { tag, 'back' } end
if mode ~= 'look' and m[7] ~= replid then
  call('HSET', meta, 'run', run, 'replid', replid, 'evicted', evicted, 'began', began)
end
return { tag, 'ok', seq, now, era, epoch }
