-- run @RUN@
-- An operation of the store, in one atomic step. The decisions are those of
-- replay.Ledger, in the same order; docs/SPEC.md §8 has the table. A server that was
-- started since does not know a script of this text: see check.go.
--
-- ARGV: tag, the era known and its epoch, the highest seq seen, operation, how many records to purge, then what
-- the operation needs. Times are Unix seconds.
-- Answer: tag, "ok" or a refusal, seq, now, then what the operation says.
local meta = KEYS[1]
local prefix = string.sub(meta, 1, -5)
local call, sub = redis.call, string.sub
local tag = ARGV[1]
local now = tonumber(call('TIME')[1])

-- EVAL with load makes this script known to the server. If that is no longer the one
-- that was checked, others take it for the former by this script: no era is theirs then.
if ARGV[4] == 'load' then
  local same = string.match(call('INFO', 'server'), 'run_id:(%x+)') == '@RUN@'
  if not same and call('EXISTS', meta) == 1 then call('HSET', meta, 'era', '') end
  return { tag, same and 'ok' or 'era', 0, now }
end

-- A replica is not asked. A server that was one in between has lost what its master of then
-- lacked. It has the same run and scripts, but another replication ID.
local replication = call('INFO', 'replication')
if not string.find(replication, 'role:master\r', 1, true) or not string.find(replication, 'master_replid:@REPLID@\r', 1, true) then
  return { tag, 'era' }
end

-- While a Cluster moves the slot, each side has some of the records, and takes what is with the other for new.
-- Both refuse a command with two keys of which one is missing.
if type(redis.pcall('EXISTS', meta, prefix .. 'none')) ~= 'number' then return { tag, 'moving' } end

local m = call('HMGET', meta, 'era', 'seq', 'epoch', 'past_r', 'past_s', 'r', 's', 'u')
if not m[1] then return { tag, 'gone' } end
if m[1] .. ' ' .. m[3] ~= ARGV[2] then return { tag, 'era' } end
local seq, epoch = tonumber(m[2]), tonumber(m[3])
local latest = math.max(now + @AHEAD@, epoch) -- of what may be granted by now
if seq < tonumber(ARGV[3]) then return { tag, 'back' } end
local past = { r = tonumber(m[4]), s = tonumber(m[5]) } -- the horizons: of rights, and of all else
local count = { r = tonumber(m[6]), s = tonumber(m[7]), u = tonumber(m[8]) }
