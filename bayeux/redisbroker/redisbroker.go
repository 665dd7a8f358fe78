// Package redisbroker carries the broadcasts of a cluster of bayeux servers over
// Redis or Valkey, by publish and subscribe.
//
// Give each node's bayeux.Config.Broker a [Broker] of its own, all with the same
// channel. A message reaches each node at most once: what is published while a
// node is not connected does not reach it later, and Redis cuts off a node that
// does not keep up (client-output-buffer-limit pubsub).
//
// Who can publish on the channel can send to every client of every node. An
// account for the nodes, with the channel "bayeux", is
//
//	ACL SETUSER bayeux on >PASSWORD resetkeys resetchannels &bayeux +publish +subscribe +unsubscribe +ping
//
// # Cluster
//
// On a Redis Cluster that account needs +cluster|shards +cluster|slots besides, on every
// server. All that is published goes to the master of the slot of the channel's name, so
// that the messages of a node keep their order, and from there to every server, whether a
// node listens there or not: a Cluster does not carry more of them than one server.
// While that master is gone, until a replica has taken over, nothing comes from other nodes.
// When another server is gone, the nodes that listened there miss what is published
// until they have found another.
package redisbroker

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/rueidis"
)

// Broker implements bayeux.Broker. It is safe for concurrent use.
type Broker struct {
	channel string
	option  rueidis.ClientOption

	mu     sync.Mutex
	dialed *dialing // nil until it is needed, and after it failed
	closed bool
}

// dialing is an attempt to connect, which several callers wait for.
type dialing struct {
	done   chan struct{} // closed once the rest is set
	client rueidis.Client
	err    error
}

var errClosed = errors.New("redisbroker: closed")

// New returns a broker that connects when it is first used: servers start, and
// serve their own clients, without Redis. option.InitAddress is required; retries
// and the client's cache are turned off. It returns an error if there is no
// address or the channel is empty.
func New(option rueidis.ClientOption, channel string) (*Broker, error) {
	if len(option.InitAddress) == 0 || channel == "" {
		return nil, errors.New("redisbroker: an address and a channel are needed")
	}
	option.DisableRetry = true // a message that may have been published is not published again
	option.DisableCache = true
	return &Broker{channel: channel, option: option}, nil
}

// Publish implements bayeux.Broker.
func (b *Broker) Publish(ctx context.Context, messages [][]byte) error {
	client, err := b.connected(ctx)
	if err != nil {
		return err
	}
	commands := make(rueidis.Commands, len(messages))
	for i, m := range messages {
		// With the channel for a key, in a Cluster all go to one master, and keep their order.
		commands[i] = client.B().Arbitrary("PUBLISH").Keys(b.channel).Args(rueidis.BinaryString(m)).Build()
	}
	for _, result := range client.DoMulti(ctx, commands...) {
		if err := result.Error(); err != nil {
			return err
		}
	}
	return nil
}

// Receive implements bayeux.Broker.
func (b *Broker) Receive(ctx context.Context, f func(message []byte)) error {
	client, err := b.connected(ctx)
	if err != nil {
		return err
	}
	subscribe := client.B().Subscribe().Channel(b.channel).Build()
	return client.Receive(ctx, subscribe, func(m rueidis.PubSubMessage) { f([]byte(m.Message)) })
}

// connected returns the client, after making it the first time. Who gives up leaves the
// attempt to those who come later.
func (b *Broker) connected(ctx context.Context) (rueidis.Client, error) {
	d, err := b.dial()
	if err != nil {
		return nil, err
	}
	select {
	case <-d.done:
		return d.client, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *Broker) dial() (*dialing, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	if b.dialed == nil {
		b.dialed = &dialing{done: make(chan struct{})}
		go b.finish(b.dialed)
	}
	return b.dialed, nil
}

// finish ends the attempt, within the Dialer's time.
func (b *Broker) finish(d *dialing) {
	client, err := rueidis.NewClient(b.option)
	b.mu.Lock()
	defer b.mu.Unlock()
	defer close(d.done)
	switch {
	case err != nil:
		d.err, b.dialed = err, nil
	case b.closed:
		d.err = errClosed
		go client.Close()
	default:
		d.client = client
	}
}

// Close ends the connections, or those of an attempt under way once it is over. It
// waits about a second for a server that does not answer. Call it after
// bayeux.Server.Shutdown; from then on Publish and Receive return errors.
func (b *Broker) Close() {
	b.mu.Lock()
	d := b.dialed
	b.dialed, b.closed = nil, true
	b.mu.Unlock()
	if d == nil {
		return
	}
	select {
	case <-d.done:
		if d.client != nil {
			d.client.Close()
		}
	default: // finish closes what comes of it
	}
}
