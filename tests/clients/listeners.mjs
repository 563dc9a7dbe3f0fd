// Subscribers of ioredis and node-redis before a cluster, to channels and to shard channels, while the cluster changes.
import assert from 'node:assert/strict';
import {setTimeout as sleep} from 'node:timers/promises';
import {Cluster, Redis} from 'ioredis';
import {createClient, createCluster} from 'redis';
import {host, port} from './presented.mjs';

// The time in ms in which each subscriber hears more after a change, on a busy machine.
const PATIENCE = 30_000;
// The messages of each kind that a subscriber must hear then.
const MORE = 20;
const socket = {host, port};

// Hears numbers on a channel and on a shard channel. They rise, so that no message comes twice or late.
class Listener {
  constructor(name) {
    const [channel, shard] = [`listener:${name}:channel`, `listener:${name}:shard`];
    Object.assign(this, {channel, shard, heard: {[channel]: 0, [shard]: 0}, last: {[channel]: 0, [shard]: 0}});
  }

  take(channel, text) {
    const number = Number(text);
    if (!(number > this.last[channel])) this.error ??= new Error(`${channel}: ${text} after ${this.last[channel]}`);
    this.last[channel] = number;
    this.heard[channel]++;
  }

  async ioredis(client) {
    client.on('message', (channel, text) => this.take(channel, text));
    client.on('smessage', (channel, text) => this.take(channel, text));
    await client.subscribe(this.channel);
    await client.ssubscribe(this.shard);
    return this;
  }

  async nodeRedis(client) {
    client.on('error', () => {});
    await client.connect();
    await client.subscribe(this.channel, (text, channel) => this.take(channel, text));
    await client.sSubscribe(this.shard, (text, channel) => this.take(channel, text));
    return this;
  }
}

// The subscribers, and the client that publishes.
export class Listeners {
  static async start() {
    const listeners = new Listeners();
    listeners.all = await Promise.all([
      new Listener('io').ioredis(new Redis({host, port})),
      new Listener('io-cluster').ioredis(new Cluster([{host, port}], {shardedSubscribers: true})),
      new Listener('node-2').nodeRedis(createClient({RESP: 2, socket})),
      new Listener('node-3').nodeRedis(createClient({RESP: 3, socket})),
      new Listener('node-cluster-2').nodeRedis(createCluster({RESP: 2, rootNodes: [{socket}]})),
      new Listener('node-cluster-3').nodeRedis(createCluster({RESP: 3, rootNodes: [{socket}]})),
    ]);
    Object.assign(listeners, {number: 0, errors: 0, stopping: false});
    listeners.publish(new Redis({host, port}));
    return listeners;
  }

  // Publishes rising numbers to all channels.
  async publish(client) {
    while (!this.stopping) {
      this.number++;
      for (const {channel, shard} of this.all) {
        for (const words of [['publish', channel], ['spublish', shard]]) {
          await client.call(...words, this.number).catch((error) => {
            if (!/this command may or may not have run/.test(error.message)) this.error ??= error;
            this.errors++;
          });
        }
      }
      await sleep(10);
    }
  }

  shards() {
    return this.all.map((listener) => listener.shard);
  }

  // Waits until each subscriber has heard more on each channel.
  async assertHear() {
    const end = Date.now() + PATIENCE;
    const before = this.all.map((listener) => ({...listener.heard}));
    for (const [index, listener] of this.all.entries()) {
      while (Object.entries(before[index]).some(([channel, count]) => listener.heard[channel] < count + MORE)) {
        assert.ifError(listener.error ?? this.error);
        assert.ok(Date.now() < end, JSON.stringify([before[index], listener.heard, this.number]));
        await sleep(50);
      }
    }
  }

  end() {
    this.stopping = true;
    const heard = this.all.flatMap((listener) => Object.values(listener.heard)).reduce((sum, count) => sum + count, 0);
    console.log(`  heard ${heard} of ${2 * this.all.length * this.number} messages, `
      + `${this.errors} commands of the publisher read an error`);
  }
}
