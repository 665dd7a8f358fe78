// Opens and seals with npm's jose: one request in JSON a line on standard input,
// one answer a line on standard output.
import { createInterface } from 'node:readline'
import * as jose from 'jose'

const serializations = { compact: jose.CompactEncrypt, flattened: jose.FlattenedEncrypt }

async function open({ key, envelope }) {
  const secret = await jose.importJWK(key)
  const json = envelope.startsWith('{') ? JSON.parse(envelope) : undefined
  const decrypt = json?.recipients ? jose.generalDecrypt : json ? jose.flattenedDecrypt : jose.compactDecrypt
  const { plaintext } = await decrypt(json ?? envelope, secret)
  return Buffer.from(plaintext).toString('base64')
}

async function seal({ key, header, plaintext, form }) {
  const sealed = await new serializations[form](Buffer.from(plaintext, 'base64'))
    .setProtectedHeader(header)
    .encrypt(await jose.importJWK(key))
  return typeof sealed === 'string' ? sealed : JSON.stringify(sealed)
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  let answer
  try {
    answer = { result: await (request.op === 'open' ? open(request) : seal(request)) }
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
