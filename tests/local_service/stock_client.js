// Runs one connection of the stock socket.io-client and prints what it sees, one JSON list a line.
// argv: folder with node_modules, URL, token, second token, JSON list of the arguments of "subscribe".
'use strict'
const [folder, url, token, fresh, room] = process.argv.slice(2)
const io = require(folder + '/node_modules/socket.io-client')

const tell = (...seen) => process.stdout.write(JSON.stringify(seen) + '\n')
const socket = io(url, { query: { token }, reconnectionDelay: 10, reconnectionDelayMax: 50 })
const arguments_ = JSON.parse(room)

socket.on('connect', () => {
  tell('connect', socket.io.engine.transport.name)
  socket.io.engine.on('upgrade', transport => tell('upgrade', transport.name))
  socket.emit('subscribe', ...arguments_, () => tell('subscribed'))
})
socket.on('tx', tx => tell('tx', tx.txid))
socket.on('block', hash => tell('block', hash))
if (arguments_.length > 1) {
  for (const address of arguments_[1]) socket.on(address, txid => tell(address, txid))
}
socket.on('error', error => tell('error', error))
socket.on('reconnect_attempt', () => { socket.io.opts.query = { token: fresh } })
let expired = false
socket.on('disconnect', reason => {
  tell('disconnect', reason)
  // The reason after which Bloq's own client takes a new token; the connection itself ends a moment later.
  if (reason === 'jwt expired') {
    expired = true
  } else if (expired) {
    expired = false
    setImmediate(() => { socket.io.opts.query = { token: fresh }; socket.connect() })
  }
})
process.stdin.on('end', () => process.exit(0)).resume()
